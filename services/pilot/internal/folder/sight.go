package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// maxFiles bounds a folder.
const maxFiles = 10_000

// sight is what one look at the folders saw.
type sight struct {
	seen     map[string]bool // files, by origin
	unread   []string        // folders that could not be read: nothing of them changes
	problems []*pilotv1.Problem
}

// keep leaves a folder as it was.
func (s *sight) keep(dir, why string) {
	s.unread = append(s.unread, dir)
	s.problems = append(s.problems, &pilotv1.Problem{File: dir, Message: "the folder cannot be read, nothing of it changes: " + why})
}

// kept reports whether a file is in a folder that could not be read.
func (s *sight) kept(path string) bool {
	return slices.ContainsFunc(s.unread, func(dir string) bool {
		_, inside := within(dir, path)
		return inside
	})
}

// openDir opens a folder; what is none is not touched.
func openDir(dir string) (*os.Root, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, errors.New(kind(info.Mode()) + " is there")
	}
	return os.OpenRoot(dir)
}

// scan lists the documents of a folder, by their slash-separated names within it.
func (s *sight) scan(root *os.Root, dir string) []string {
	top, err := list(root, ".")
	if err != nil {
		s.keep(dir, reason(err))
		return nil
	}
	var out []string
	for _, e := range top {
		switch {
		case isHidden(e.Name()):
		case isDocument(e.Name()):
			out = append(out, e.Name())
		default:
			out = append(out, s.scanInner(root, dir, e)...)
		}
	}
	if len(out) > maxFiles {
		s.keep(dir, fmt.Sprintf("%d files; at most %d are taken", len(out), maxFiles))
		return nil
	}
	return out
}

// scanInner lists the documents of a subfolder, or of what a link leads to.
func (s *sight) scanInner(root *os.Root, dir string, e fs.DirEntry) []string {
	path := filepath.Join(dir, e.Name())
	folder := e.IsDir()
	if e.Type()&fs.ModeSymlink != 0 {
		info, err := root.Stat(e.Name())
		if why, there := astray(root, e.Name(), err); there && why != "" {
			s.unread = append(s.unread, path)
			s.problems = append(s.problems, &pilotv1.Problem{File: path, Message: why})
		}
		folder = err == nil && info.IsDir()
	}
	if !folder {
		return nil
	}
	inner, err := list(root, e.Name())
	if err != nil {
		s.keep(path, reason(err))
		return nil
	}
	var out []string
	for _, f := range inner {
		if !isHidden(f.Name()) && isDocument(f.Name()) {
			out = append(out, e.Name()+"/"+f.Name())
		}
	}
	return out
}

// list reads a folder, and opens nothing that is not one.
func list(root *os.Root, name string) ([]fs.DirEntry, error) {
	in, err := root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return in.ReadDir(-1)
}

// astray says, given the error of looking at what a name leads to, what is wrong with
// it; nothing is if there is no error. there is false if there is nothing of that name.
func astray(root *os.Root, name string, err error) (why string, there bool) {
	if err == nil {
		return "", true
	}
	info, lost := root.Lstat(name)
	if lost != nil {
		return "", false
	}
	var system syscall.Errno // the system did not refuse to follow a link that leads out
	switch link := info.Mode()&fs.ModeSymlink != 0; {
	case link && errors.Is(err, fs.ErrNotExist):
		return "is a link that leads nowhere: mend or remove it; until then nothing of it changes", true
	case link && !errors.As(err, &system):
		return "is a link that leads out of the folder and is not followed: put what it leads to here, or a relative link to a place inside; " +
			"until then nothing of it changes", true
	}
	return "cannot be read: " + reason(err), true
}

// kind names what is no regular file.
func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m.IsRegular():
		return "a file"
	}
	return "something that is no file"
}

// reason leaves out the operation and the path, which the problem has already.
func reason(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
