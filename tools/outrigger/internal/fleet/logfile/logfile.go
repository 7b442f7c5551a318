// Package logfile keeps what a process prints in a file of bounded size. In: the
// bytes it prints. Out: the file, the one before it under the same name with
// ".1", both readable by the owner only, and the last words. It never looks into
// the text.
package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
)

// keep is how many of the last bytes are held for Tail.
const keep = 4 << 10

// File is a log file that is appended to. Safe for concurrent use.
type File struct {
	path  string
	limit int64

	mu     sync.Mutex
	file   *os.File // nil after Close, and while it cannot be opened
	closed bool
	size   int64
	last   []byte
}

// Open opens or makes the file. Once it would grow past limit bytes it becomes the
// old one and a new one begins.
func Open(path string, limit int64) (*File, error) {
	f := &File{path: path, limit: limit}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("log file: %w", err), file.Close())
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Write appends text. Text longer than the limit is kept whole, in a file of its
// own. After an error the next call tries again.
func (f *File) Write(text []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = append(f.last, text...)
	if excess := len(f.last) - keep; excess > 0 {
		f.last = append(f.last[:0], f.last[excess:]...)
	}
	if f.closed {
		return 0, fs.ErrClosed
	}
	if f.file == nil {
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	if f.size > 0 && f.size+int64(len(text)) > f.limit {
		if err := f.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := f.file.Write(text)
	f.size += int64(n)
	return n, err
}

func (f *File) rotate() error {
	err := f.file.Close()
	f.file = nil
	if err := errors.Join(err, os.Rename(f.path, f.path+".1")); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	return f.open()
}

// Tail returns the last lines that were written since Open, at most n, without
// the end of the last one.
func (f *File) Tail(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := strings.Split(strings.TrimRight(string(f.last), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Forget empties what Tail returns.
func (f *File) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = f.last[:0]
}

// Close ends the writing; Tail goes on to work.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
