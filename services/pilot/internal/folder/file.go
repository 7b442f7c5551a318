package folder

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// file is what is known of one file.
type file struct {
	path string // as people see it
	// Of the last look. A file that changed within the last interval is taken at the
	// next look only: it may still be being written.
	info    fs.FileInfo
	sum     [sha256.Size]byte
	settled bool

	gone     bool
	pending  bool // something is to be handed in
	readable bool // docs are those of the newest content
	docs     []decode.Decoded
	refs     map[model.Ref]bool // of docs
	problems []*pilotv1.Problem
}

// see brings what is known of the files of a folder up to date.
func (f *Folders) see(root *os.Root, dir string, names []string, s *sight) {
	for _, name := range names {
		path := filepath.Join(dir, filepath.FromSlash(name))
		origin := originPrefix + path
		if s.seen[origin] {
			continue // of two folders, one in the other
		}
		x := f.files[origin]
		if x == nil {
			x = &file{path: path}
		}
		if x.refresh(root, name, f.cfg.Interval) {
			s.seen[origin], f.files[origin] = true, x
		}
	}
}

// retire notes which files are no longer there.
func (f *Folders) retire(s *sight) {
	for origin, x := range f.files {
		if !s.seen[origin] && !x.gone && !s.kept(x.path) {
			*x = file{path: x.path, gone: true, pending: true}
		}
	}
}

// refresh looks at the file and decodes it if it changed. It opens regular files only.
// there is false if there is nothing of that name.
func (x *file) refresh(root *os.Root, name string, interval time.Duration) (there bool) {
	info, err := root.Stat(name)
	if why, there := astray(root, name, err); why != "" || !there {
		if there {
			x.unfit(why)
		}
		return there
	}
	if x.gone = false; !info.Mode().IsRegular() {
		x.unfit("is " + kind(info.Mode()) + " and not a file: rename or remove it; until then nothing of it changes")
		return true
	}
	if x.settled && sameFile(x.info, info) {
		return true
	}
	content, err := slurp(root, name)
	if err != nil {
		x.unfit("cannot be read: " + reason(err))
		return true
	}
	sum := sha256.Sum256(content)
	same := sum == x.sum && x.info != nil && info.Size() == x.info.Size()
	age := time.Since(info.ModTime())
	x.info, x.sum = info, sum
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

// sameFile reports whether a file is the one that was looked at, and unchanged. A link
// may lead to another one of the same size and time.
func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// slurp reads at most what decode takes, and one byte more.
func slurp(root *os.Root, name string) ([]byte, error) {
	in, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would stop us
	if err != nil {
		return nil, err
	}
	defer in.Close()
	// It may be another one by now.
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is being replaced"))
	}
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
	if len(docs) == 0 {
		// Half a copy looks like this, and a full disk leaves it behind.
		x.broken([]*pilotv1.Problem{{File: x.path, Message: "has no objects; what it had stays in force: remove the file to remove that"}})
		return
	}
	if problems = based(docs); len(problems) > 0 {
		x.broken(problems)
		return
	}
	x.refs = map[model.Ref]bool{}
	for _, d := range docs {
		x.refs[model.RefOf(d.Object)] = true
	}
	x.docs, x.readable, x.pending, x.problems = docs, true, true, nil
}

// based finds what is to be written only if an object has a certain revision. A file is
// the truth at any revision: it would hold for the first write and for none after it.
func based(docs []decode.Decoded) []*pilotv1.Problem {
	var out []*pilotv1.Problem
	for _, d := range docs {
		if d.Object.GetMetadata().GetRevision() != 0 {
			out = append(out, d.Problem("metadata.revision",
				"not in a watched folder: what a file says is written whatever the object's revision; take it out, or use `outrigger apply` for a conditional write"))
		}
	}
	return out
}

// unfit keeps what is in force, and has the file looked at anew when it can be again.
func (x *file) unfit(why string) {
	x.gone, x.settled, x.info, x.sum = false, false, nil, [sha256.Size]byte{}
	x.broken([]*pilotv1.Problem{{File: x.path, Message: why}})
}

// broken keeps what is in force.
func (x *file) broken(problems []*pilotv1.Problem) {
	x.readable, x.pending, x.docs, x.refs, x.problems = false, false, nil, nil, problems
}

// hand hands in one file.
func (f *Folders) hand(ctx context.Context, origin string, x *file) error {
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

// letGo tells whether a file of the folders had an object and has it no longer. One that
// cannot be read, or is in a folder that cannot, keeps what it had.
func (f *Folders) letGo(owner string, ref model.Ref) bool {
	x := f.files[owner]
	return x != nil && (x.gone || x.readable && !x.has(ref))
}

// wanted tells whether another file has the object and will take it over.
func (f *Folders) wanted(origin string, ref model.Ref) bool {
	for other, x := range f.files {
		if other != origin && x.pending && x.readable && x.has(ref) {
			return true
		}
	}
	return false
}

func (x *file) has(ref model.Ref) bool { return x.refs[ref] }
