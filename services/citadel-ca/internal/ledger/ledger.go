// Package ledger remembers what must not be forgotten when the process dies: which
// join tokens exist and which were used, and what has been issued. In: records. Out:
// the same, after a restart as well. It holds no token's text and no key, and decides
// nothing beyond "a token is used once".
//
// All of it lies in one folder, in files of mode 0600: tokens.log, issued.log and
// issued.log.1. One process at a time has the folder.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/durable"
)

// Ledger is safe for concurrent use. Close it.
type Ledger struct {
	dir                  string
	lock                 *os.File
	maxTokens, maxIssued int

	mu     sync.Mutex
	domain string
	tokens map[string]*entry
	live   int // tokens that are not used
	log    *journal
	issued *journal
	count  uint64
}

// Open reads the ledger in dir, made if it is not there. It belongs to one trust
// domain for ever. Errors: a folder in use by another process, of another trust
// domain, or damaged.
func Open(dir, domain string, now time.Time) (*Ledger, error) {
	return open(dir, domain, now, MaxTokens, maxIssued)
}

func open(dir, domain string, now time.Time, maxTokens, maxIssued int) (*Ledger, error) {
	if err := durable.Folder(dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{dir: dir, lock: lock, maxTokens: maxTokens, maxIssued: maxIssued, tokens: map[string]*entry{}}
	if err := l.open(domain, now); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Ledger) open(domain string, now time.Time) (err error) {
	if l.log, err = openJournal(filepath.Join(l.dir, "tokens.log"), l.replayToken); err != nil {
		return err
	}
	if l.issued, err = openJournal(filepath.Join(l.dir, "issued.log"), l.replayIssued); err != nil {
		return err
	}
	if l.domain == "" {
		l.domain = domain
		return l.log.append(tokenLine{Op: opDomain, Domain: domain}, true)
	}
	if l.domain != domain {
		return fmt.Errorf("%s belongs to an authority of trust domain %s, the configured one is %s: "+
			"a change of trust domain needs a new authority with a state folder of its own", l.dir, l.domain, domain)
	}
	return l.compact(now)
}

// Broken says why nothing more can be written, nil as long as it can.
func (l *Ledger) Broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.log.broken, l.issued.broken)
}

// Close writes out what is left and frees the folder.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, j := range []*journal{l.log, l.issued} {
		if j != nil {
			errs = append(errs, j.close())
		}
	}
	return errors.Join(append(errs, l.lock.Close())...)
}

// lockFolder takes the folder for this process; the kernel gives it back at its end,
// however that comes.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("state folder %s is in use by another process: %w", dir, err), f.Close())
	}
	return f, nil
}

// issuedLine is a line of issued.log. The first one of a file has only the count of
// those in files before it.
type issuedLine struct {
	Count    uint64     `json:"count,omitempty"`
	Serial   string     `json:"serial,omitempty"`
	ID       string     `json:"id,omitempty"`
	Token    string     `json:"token,omitempty"`
	NotAfter *time.Time `json:"notAfter,omitempty"`
}

// maxIssued is how many lines issued.log gets before it becomes issued.log.1, so that
// the last 10,000 certificates at least can be looked up: about 2 MB each.
const maxIssued = 10000

func (l *Ledger) replayIssued(line []byte) error {
	var r issuedLine
	if err := json.Unmarshal(line, &r); err != nil {
		return err
	}
	if r.Serial == "" {
		l.count += r.Count
		return nil
	}
	l.count++
	return nil
}

// Issued notes a certificate: its serial number, for whom, by which token if by one,
// and its end. It is safe against the death of the process when Issued returns,
// against a loss of power some seconds later.
func (l *Ledger) Issued(serial, id, token string, notAfter time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.rotate(); err != nil {
		return err
	}
	notAfter = notAfter.UTC()
	if err := l.issued.append(issuedLine{Serial: serial, ID: id, Token: token, NotAfter: &notAfter}, false); err != nil {
		return err
	}
	l.count++
	return nil
}

func (l *Ledger) rotate() error {
	if l.issued.lines < l.maxIssued {
		return nil
	}
	data, err := os.ReadFile(l.issued.path)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if err := durable.Replace(l.issued.path+".1", data); err != nil {
		return err
	}
	return l.issued.rewrite([]any{issuedLine{Count: l.count}})
}

// Count is how many certificates have been issued, by this process and those before.
func (l *Ledger) Count() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}
