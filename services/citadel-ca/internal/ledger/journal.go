package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/durable"
)

// journal is a file of JSON documents, one a line, that only grows until it is
// rewritten. A line without its end is what a crash left of a record that nobody was
// told of; it is cut off. Not safe for concurrent use.
type journal struct {
	path   string
	file   *os.File
	size   int64
	lines  int
	broken error // once set, nothing more is written
}

// maxJournal bounds what is read at start: it is far more than the limits of the
// ledger let it grow to.
const maxJournal = 64 << 20

// openJournal calls each for every line in order and leaves the journal open for more.
func openJournal(path string, each func(line []byte) error) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	j := &journal{path: path, file: f}
	if err := j.replay(each); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

func (j *journal) replay(each func([]byte) error) error {
	if err := j.file.Chmod(0o600); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(j.file, maxJournal+1))
	if err != nil {
		return fmt.Errorf("ledger %s: %w", j.path, err)
	}
	if len(data) > maxJournal {
		return fmt.Errorf("ledger %s: more than %d bytes", j.path, maxJournal)
	}
	for {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if !whole {
			break
		}
		j.lines++
		if err := each(line); err != nil {
			return fmt.Errorf("ledger %s:%d: %w: the file was damaged; it can be removed, which forgets the join tokens not used yet",
				j.path, j.lines, err)
		}
		j.size += int64(len(line)) + 1
		data = rest
	}
	return j.cut()
}

// cut takes the file back to its last whole record.
func (j *journal) cut() error {
	if err := j.file.Truncate(j.size); err != nil {
		return fmt.Errorf("ledger %s: %w", j.path, err)
	}
	if _, err := j.file.Seek(j.size, io.SeekStart); err != nil {
		return fmt.Errorf("ledger %s: %w", j.path, err)
	}
	return nil
}

// append adds a record; with sync it is on disk when append returns. An error is
// fault.Unavailable and means that the record is not there, now or later: if that
// cannot be had, every later append fails as well.
func (j *journal) append(record any, sync bool) error {
	if j.broken != nil {
		return fault.Unavailable.Wrap(j.broken, "ledger")
	}
	line, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("ledger record: %w", err)
	}
	line = append(line, '\n')
	if _, err := j.file.Write(line); err != nil {
		if cut := j.cut(); cut != nil {
			j.broken = errors.Join(err, cut)
		}
		return fault.Unavailable.Wrap(err, "ledger")
	}
	if sync {
		if err := j.file.Sync(); err != nil {
			// What is on disk is unknown from here on, whatever later calls say.
			j.broken = errors.Join(err, j.cut())
			return fault.Unavailable.Wrap(j.broken, "ledger")
		}
	}
	j.size += int64(len(line))
	j.lines++
	return nil
}

// rewrite replaces the whole file by records.
func (j *journal) rewrite(records []any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("ledger record: %w", err)
		}
	}
	if err := durable.Replace(j.path, b.Bytes()); err != nil {
		if !j.named() {
			j.broken = err
		}
		return fault.Unavailable.Wrap(err, "ledger")
	}
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		// The old file has no name any more: records written to it would be lost.
		j.broken = err
		return fault.Unavailable.Wrap(err, "ledger")
	}
	old := j.file
	j.file, j.size, j.lines = f, int64(b.Len()), len(records)
	if err := old.Close(); err != nil {
		return fmt.Errorf("ledger %s: %w", j.path, err)
	}
	return nil
}

// named reports whether the open file is still the one at path.
func (j *journal) named() bool {
	ours, err1 := j.file.Stat()
	there, err2 := os.Stat(j.path)
	return err1 == nil && err2 == nil && os.SameFile(ours, there)
}

func (j *journal) close() error { return errors.Join(j.file.Sync(), j.file.Close()) }
