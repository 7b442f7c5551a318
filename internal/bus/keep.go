package bus

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
)

// Keep is a directory for the last known good, made with mode 0700 when needed. One
// process may use it at a time.
type Keep struct {
	Dir string
}

func (k Keep) file(bucket string) string {
	if k.Dir == "" {
		return ""
	}
	return filepath.Join(k.Dir, bucket+".keep")
}

// keepHead begins a kept file and names its layout: a SHA-256 of the rest, then
// identity, revision, number of entries, and for each Seq, Revision and envelope.
// Numbers are uvarints, strings have their length in front.
const keepHead = "outrigger bus keep 1\n"

// load fills the view from the kept file. A damaged one is put aside and not used.
func (r *reader) load() {
	file := r.cfg.Keep.file(r.cfg.Name)
	if file == "" {
		return
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var v *view
	if err == nil {
		v, err = parseKeep(data)
	}
	if err != nil {
		r.log.Error("kept state of the bus not used", "file", file, "error", err, "moved", os.Rename(file, file+".damaged") == nil)
		return
	}
	r.mu.Lock()
	r.view = v
	r.mu.Unlock()
}

// save replaces the kept file if the state has changed since.
func (r *reader) save() {
	file := r.cfg.Keep.file(r.cfg.Name)
	if file == "" || !r.dirty {
		return
	}
	data, err := r.view.keep()
	if err == nil {
		err = replace(file, data)
	}
	if err != nil {
		r.log.Error("state of the bus not kept", "file", file, "error", err)
		return
	}
	r.dirty = false
}

// keep is the form on disk.
func (v *view) keep() ([]byte, error) {
	body := appendText(nil, []byte(v.identity))
	body = binary.AppendUvarint(body, v.revision)
	body = binary.AppendUvarint(body, uint64(len(v.live)))
	for _, e := range sorted(v.live) {
		value, err := proto.Marshal(e.Envelope)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Key, err)
		}
		body = binary.AppendUvarint(body, e.Seq)
		body = binary.AppendUvarint(body, e.Revision)
		body = appendText(body, value)
	}
	sum := sha256.Sum256(body)
	return append(append([]byte(keepHead), sum[:]...), body...), nil
}

func appendText(to, text []byte) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

var errKeep = errors.New("damaged")

// parseKeep is the inverse of keep.
func parseKeep(data []byte) (*view, error) {
	rest, ok := bytes.CutPrefix(data, []byte(keepHead))
	if !ok || len(rest) < sha256.Size {
		return nil, errKeep
	}
	sum, rest := rest[:sha256.Size], rest[sha256.Size:]
	if got := sha256.Sum256(rest); !bytes.Equal(got[:], sum) {
		return nil, errKeep
	}
	p := keepParser{rest: rest}
	v := newView()
	v.identity = string(p.text())
	v.revision = p.number()
	for range p.number() {
		e := Entry{Seq: p.number(), Revision: p.number(), Envelope: &busv1.Envelope{}}
		value := p.text()
		if p.bad {
			break
		}
		if err := proto.Unmarshal(value, e.Envelope); err != nil {
			return nil, fmt.Errorf("kept envelope: %w", err)
		}
		e.Key = KeyOf(e.Envelope.GetObject())
		v.put(e, time.Time{})
	}
	if p.bad || v.identity == "" || len(p.rest) > 0 {
		return nil, errKeep
	}
	return v, nil
}

// keepParser reads the fields of a kept file; bad stays set once one was not there.
type keepParser struct {
	rest []byte
	bad  bool
}

func (p *keepParser) number() uint64 {
	n, size := binary.Uvarint(p.rest)
	if size <= 0 {
		p.bad = true
		return 0
	}
	p.rest = p.rest[size:]
	return n
}

func (p *keepParser) text() []byte {
	n := p.number()
	if n > uint64(len(p.rest)) {
		p.bad = true
		return nil
	}
	text := p.rest[:n]
	p.rest = p.rest[n:]
	return text
}

// replace writes a file in one step, readable by its owner only.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keep-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
