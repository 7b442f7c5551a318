package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/authn"
)

// MaxTokens is how many join tokens may wait for their use. It bounds memory and disk
// (about 300 bytes each), and is ten times the workloads that one authority of one
// process is meant to start at once.
const MaxTokens = 10000

// slack is how many lines without effect tokens.log may have before it is rewritten.
const slack = 1000

type entry struct {
	hash    [sha256.Size]byte
	id      spiffe.ID
	expires time.Time
	used    bool
}

const (
	opDomain = "domain"
	opAdd    = "add"
	opUse    = "use"
	opFree   = "free"
)

// tokenLine is a line of tokens.log.
type tokenLine struct {
	Op      string     `json:"op"`
	Domain  string     `json:"domain,omitempty"`
	Name    string     `json:"name,omitempty"`
	Hash    string     `json:"hash,omitempty"`
	ID      string     `json:"id,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
}

func (l *Ledger) replayToken(line []byte) error {
	var r tokenLine
	if err := json.Unmarshal(line, &r); err != nil {
		return err
	}
	switch r.Op {
	case opDomain:
		l.domain = r.Domain
	case opAdd:
		e, err := r.entry()
		if err != nil {
			return err
		}
		if l.tokens[r.Name] != nil {
			return fmt.Errorf("token %q a second time", r.Name)
		}
		l.tokens[r.Name] = e
		l.live++
	case opUse, opFree:
		e := l.tokens[r.Name]
		if e == nil || e.used == (r.Op == opUse) {
			return fmt.Errorf("%s of token %q does not follow from the lines before", r.Op, r.Name)
		}
		l.mark(e, r.Op == opUse)
	default:
		return fmt.Errorf("unknown record %q", r.Op)
	}
	return nil
}

func (r tokenLine) entry() (*entry, error) {
	e := &entry{}
	id, err := spiffe.Parse(r.ID)
	if err != nil {
		return nil, err
	}
	hash, err := hex.DecodeString(r.Hash)
	if err != nil || len(hash) != len(e.hash) || r.Expires == nil {
		return nil, fmt.Errorf("token %q: no hash or no expiry", r.Name)
	}
	copy(e.hash[:], hash)
	e.id, e.expires = id, *r.Expires
	return e, nil
}

func (e *entry) line(name string) tokenLine {
	return tokenLine{Op: opAdd, Name: name, Hash: hex.EncodeToString(e.hash[:]), ID: e.id.String(), Expires: &e.expires}
}

func (l *Ledger) mark(e *entry, used bool) {
	if e.used = used; used {
		l.live--
		return
	}
	l.live++
}

// Add remembers t as good for rec's identity until rec expires. Errors:
// fault.Exhausted when MaxTokens are waiting, fault.Conflict for a name that is taken.
func (l *Ledger) Add(t authn.Token, rec authn.Record, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live >= l.maxTokens || l.log.lines > 2*len(l.tokens)+slack || len(l.tokens) > 2*l.maxTokens+slack {
		if err := l.compact(now); err != nil {
			return err
		}
	}
	if l.live >= l.maxTokens {
		return fault.Exhausted.Errorf("%d join tokens wait for their use, no more can be made until some are used or expire", l.live)
	}
	if l.tokens[t.Name()] != nil {
		return fault.Conflict.Errorf("join token %s exists", t.Name())
	}
	e := &entry{hash: t.Hash(), id: rec.ID, expires: rec.Expires.UTC()}
	if err := l.log.append(e.line(t.Name()), true); err != nil {
		return err
	}
	l.tokens[t.Name()] = e
	l.live++
	return nil
}

// Find returns what is known of the token of that name, the zero Record if nothing.
func (l *Ledger) Find(name string) authn.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.tokens[name]
	if e == nil {
		return authn.Record{}
	}
	return authn.Record{Hash: e.hash, ID: e.id, Expires: e.expires, Used: e.used}
}

// Redeem marks a token as used, on disk before it returns. Of several calls at once
// one succeeds, the others get fault.Unauthenticated.
func (l *Ledger) Redeem(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.tokens[name]
	if e == nil || e.used {
		return fault.Unauthenticated.Errorf("join token %s: used before; a token is good for one certificate", name)
	}
	return l.turn(name, e, opUse)
}

// Release takes a Redeem back, for a certificate that could not be made.
func (l *Ledger) Release(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.tokens[name]
	if e == nil || !e.used {
		return fmt.Errorf("join token %s: not redeemed", name)
	}
	return l.turn(name, e, opFree)
}

func (l *Ledger) turn(name string, e *entry, op string) error {
	if err := l.log.append(tokenLine{Op: op, Name: name}, true); err != nil {
		return err
	}
	l.mark(e, op == opUse)
	return nil
}

// compact forgets what has expired and writes down the rest. Forgetting a token is
// always safe: one that is not known opens nothing. So of used ones, kept only to say
// why they are refused, no more are kept than there may be live ones.
func (l *Ledger) compact(now time.Time) error {
	lines := []any{tokenLine{Op: opDomain, Domain: l.domain}}
	kept := map[string]*entry{}
	used, live := 0, 0
	for name, e := range l.tokens {
		if !now.Before(e.expires) || (e.used && used >= l.maxTokens) {
			continue
		}
		kept[name] = e
		lines = append(lines, e.line(name))
		if !e.used {
			live++
			continue
		}
		used++
		lines = append(lines, tokenLine{Op: opUse, Name: name})
	}
	if err := l.log.rewrite(lines); err != nil {
		return err
	}
	l.tokens, l.live = kept, live
	return nil
}
