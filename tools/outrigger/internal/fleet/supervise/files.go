package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/netns"
)

// childFiles are the descriptors of a process and their other ends.
type childFiles struct {
	child  []*os.File
	kept   []*os.File // of the child, too, and not closed here: others have them after it
	output *os.File
	spec   *os.File
	join   net.Conn // nil if it gets no tokens
}

func openFiles(space *netns.Space, join bool, kept []*os.File) (*childFiles, error) {
	f := &childFiles{kept: kept}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open standard input: %w", err)
	}
	output, outputEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open output: %w", err), null.Close())
	}
	specEnd, spec, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open pipe: %w", err), null.Close(), output.Close(), outputEnd.Close())
	}
	f.output, f.spec = output, spec
	f.child = []*os.File{null, outputEnd, outputEnd, specEnd}
	network, err := space.Duplicate()
	if err == nil {
		f.child = append(f.child, network)
	}
	if err == nil && join {
		err = f.openJoin()
	}
	if err != nil {
		f.closeChildEnds()
		f.closeOwnEnds()
		return nil, err
	}
	return f, nil
}

func (f *childFiles) openJoin() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open join socket: %w", err)
	}
	own := os.NewFile(uintptr(pair[0]), "join")
	defer own.Close()
	f.child = append(f.child, os.NewFile(uintptr(pair[1]), "join"))
	f.join, err = net.FileConn(own)
	if err != nil {
		return fmt.Errorf("open join socket: %w", err)
	}
	return nil
}

func (f *childFiles) numbers() []uintptr {
	numbers := make([]uintptr, 0, len(f.child)+len(f.kept))
	for _, file := range slices.Concat(f.child, f.kept) {
		numbers = append(numbers, file.Fd())
	}
	return numbers
}

func (f *childFiles) closeChildEnds() {
	for _, file := range f.child {
		_ = file.Close() // the child's copies count; output is there twice
	}
}

func (f *childFiles) closeOwnEnds() {
	_ = f.output.Close() // nothing was read or written
	_ = f.spec.Close()
	if f.join != nil {
		f.join.Close()
	}
}

// writeOwned writes a file that only the given user can read, all or nothing. One
// that is right already is left alone: that needs no room on the disk.
func writeOwned(path string, text []byte, uid uint32) error {
	if isOwned(path, text, uid) {
		return nil
	}
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	err := os.WriteFile(temporary, text, 0o600)
	if err == nil && uid != 0 {
		err = os.Chown(temporary, int(uid), int(uid))
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		os.Remove(temporary)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// isOwned says whether a file is as writeOwned would leave it.
func isOwned(path string, text []byte, uid uint32) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o600 || info.Size() != int64(len(text)) || info.Sys().(*syscall.Stat_t).Uid != uid {
		return false
	}
	before, err := os.ReadFile(path)
	return err == nil && bytes.Equal(before, text)
}
