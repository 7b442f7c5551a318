package folder

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// maxFiles bounds a folder.
const maxFiles = 10_000

// file is what is known of one file.
type file struct {
	path string // as people see it
	// Of the last look. A file that changed within the last interval is taken at the
	// next look only: it may still be being written.
	modified time.Time
	size     int64
	sum      [sha256.Size]byte
	settled  bool

	gone     bool
	pending  bool // something is to be handed in
	readable bool // docs are those of the newest content
	docs     []decode.Decoded
	refs     map[model.Ref]bool // of docs
	problems []*pilotv1.Problem
}

// scan lists the files, by their slash-separated names within the folder.
func scan(root *os.Root) ([]string, error) {
	var out []string
	top, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	for _, e := range top {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case isDocument(e.Name()):
			out = append(out, e.Name())
		case e.IsDir():
			inner, err := fs.ReadDir(root.FS(), e.Name())
			if err != nil {
				return nil, err
			}
			for _, f := range inner {
				if !strings.HasPrefix(f.Name(), ".") && isDocument(f.Name()) {
					out = append(out, e.Name()+"/"+f.Name())
				}
			}
		}
	}
	if len(out) > maxFiles {
		return nil, fmt.Errorf("%d files; at most %d are taken", len(out), maxFiles)
	}
	return out, nil
}

func isDocument(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// read brings what is known of each file up to date.
func (f *Folder) read(root *os.Root, found []string) {
	seen := map[string]bool{}
	for _, name := range found {
		path := filepath.Join(f.cfg.Dir, filepath.FromSlash(name))
		origin := originPrefix + path
		x := f.files[origin]
		if x == nil {
			x = &file{path: path}
		}
		if !x.refresh(root, name, f.cfg.Interval) {
			continue // no regular file of this folder
		}
		seen[origin], f.files[origin] = true, x
	}
	for origin, x := range f.files {
		if !seen[origin] && !x.gone {
			*x = file{path: x.path, gone: true, pending: true}
		}
	}
}

// refresh looks at the file and decodes it if it changed. ok is false if it is no
// regular file, or lies outside of the folder.
func (x *file) refresh(root *os.Root, name string, interval time.Duration) (ok bool) {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	x.gone = false
	if x.settled && info.ModTime().Equal(x.modified) && info.Size() == x.size {
		return true
	}
	content, err := slurp(root, name)
	if err != nil {
		x.broken([]*pilotv1.Problem{{File: x.path, Message: "cannot be read: " + reason(err)}})
		return true
	}
	sum := sha256.Sum256(content)
	same := sum == x.sum && info.Size() == x.size
	age := time.Since(info.ModTime())
	x.modified, x.size, x.sum = info.ModTime(), info.Size(), sum
	switch {
	case same && x.settled:
		return true // touched, not changed
	case !same && age >= 0 && age < interval:
		x.settled = false
		return true
	}
	x.settled = true
	x.decode(content, info.Size())
	return true
}

// slurp reads at most what decode takes, and one byte more.
func slurp(root *os.Root, name string) ([]byte, error) {
	in, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not stop us
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(io.LimitReader(in, decode.MaxBytes+1))
}

// decode takes new content.
func (x *file) decode(content []byte, size int64) {
	if p := decode.TooLarge(x.path, size); p != nil {
		x.broken([]*pilotv1.Problem{p})
		return
	}
	docs, problems := decode.Documents(x.path, content, "")
	if len(problems) > 0 {
		x.broken(problems)
		return
	}
	x.refs = map[model.Ref]bool{}
	for _, d := range docs {
		d.Object.Metadata.Revision = 0 // the file is the truth
		x.refs[model.RefOf(d.Object)] = true
	}
	x.docs, x.readable, x.pending, x.problems = docs, true, true, nil
}

// broken keeps what is in force.
func (x *file) broken(problems []*pilotv1.Problem) {
	x.readable, x.pending, x.docs, x.refs, x.problems = false, false, nil, nil, problems
}

// hand hands in one file.
func (f *Folder) hand(ctx context.Context, origin string, x *file) error {
	in := ingest.Input{Origin: origin, Adopts: map[model.Ref]bool{}}
	view, _, _ := f.desk.View()
	for _, d := range x.docs {
		d.Object = proto.CloneOf(d.Object)
		in.Documents = append(in.Documents, d)
		ref := model.RefOf(d.Object)
		if owner := view[ref].Object.GetMetadata().GetOrigin(); owner != origin && f.letGo(owner, ref) {
			in.Adopts[ref] = true
		}
	}
	for ref, e := range view {
		if e.Object.GetMetadata().GetOrigin() == origin && !x.has(ref) && !f.wanted(origin, ref) {
			in.Deletes = append(in.Deletes, ref)
		}
	}
	slices.SortFunc(in.Deletes, model.Ref.Compare)
	if len(in.Documents)+len(in.Deletes) == 0 {
		return nil
	}
	_, err := f.desk.Submit(ctx, intake.Batch{Input: in, Writer: writerName})
	return err
}

// letGo tells whether a file of this folder had an object and has it no longer. A file
// that cannot be read keeps what it had.
func (f *Folder) letGo(owner string, ref model.Ref) bool {
	x := f.files[owner]
	return f.ours(owner) && (x == nil || x.gone || x.readable && !x.has(ref))
}

// wanted tells whether another file has the object and will take it over.
func (f *Folder) wanted(origin string, ref model.Ref) bool {
	for other, x := range f.files {
		if other != origin && x.pending && x.readable && x.has(ref) {
			return true
		}
	}
	return false
}

func (x *file) has(ref model.Ref) bool { return x.refs[ref] }
