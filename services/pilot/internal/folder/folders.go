// Package folder keeps the objects of the watched folders. In: files, looked at again
// and again. Out: batches, one for each file that changed. It decides nothing about
// documents; what is wrong with a file is kept for the status, and the file's last good
// content stays in force.
//
// Files end in .yaml, .yml or .json and lie in a folder or in one of its direct
// subfolders. Names that begin with a dot are passed over. Links are followed as long as
// they stay within the folder; those that do not, and what is no regular file, are
// shown and never opened. The file is the truth about its objects: metadata.revision in
// it means nothing, they cannot be changed in any other way, and they go when it goes.
// An object that moves from one file to another, of the same folder or not, stays in
// force. Of two files with one object the one that had it first keeps it.
//
// A file that is in none of the folders keeps nothing: its objects stay in force, are
// shown, and whoever writes them next has them.
package folder

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
)

// DefaultInterval is how often a folder is looked at.
const DefaultInterval = time.Second

// writerName is who writes, in the record of the bus.
const writerName = "folder"

// Config is what a Folder needs to know.
type Config struct {
	// Dirs are the folders to watch.
	Dirs Dirs
	// Interval between looks, DefaultInterval if 0.
	Interval time.Duration
}

// desk is where batches are handed in.
type desk interface {
	Submit(ctx context.Context, b intake.Batch) (*intake.Result, error)
	View() (v ingest.View, revision uint64, ok bool)
}

// Folders watches the folders. Problems is safe for concurrent use; Run runs once.
type Folders struct {
	cfg   Config
	desk  desk
	log   *slog.Logger
	files map[string]*file   // by origin; of Run's goroutine
	told  []*pilotv1.Problem // what the log has of what is wrong now; of Run's goroutine

	mu       sync.Mutex
	problems []*pilotv1.Problem // of the last look
	looked   bool
	revision uint64 // that the first look led to
}

// New returns a Folders that hands its batches to d.
func New(cfg Config, d desk, log *slog.Logger) *Folders {
	cfg.Interval = cmp.Or(cfg.Interval, DefaultInterval)
	return &Folders{cfg: cfg, desk: d, log: log, files: map[string]*file{}}
}

// Problems returns what is wrong with the files now, by path, and then the objects whose
// file is no longer watched.
func (f *Folders) Problems() []*pilotv1.Problem {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(slices.Clone(f.problems), f.left()...)
}

// left lists the objects that no file keeps any more.
func (f *Folders) left() []*pilotv1.Problem {
	var out []*pilotv1.Problem
	view, _, _ := f.desk.View()
	for ref, e := range view {
		if origin := e.Object.GetMetadata().GetOrigin(); !f.cfg.Dirs.Keep(origin) {
			out = append(out, &pilotv1.Problem{File: strings.TrimPrefix(origin, originPrefix), Object: ref.String(),
				Message: "stays in force, but pilot does not watch this file any more: apply the object, delete it, or put it into a folder that is watched"})
		}
	}
	slices.SortFunc(out, func(a, b *pilotv1.Problem) int {
		return cmp.Or(cmp.Compare(a.GetFile(), b.GetFile()), cmp.Compare(a.GetObject(), b.GetObject()))
	})
	return out
}

// Looked reports whether all folders were looked at once, and the revision at which what
// was good in them is in force. Safe for concurrent use.
func (f *Folders) Looked() (revision uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision, f.looked
}

// startInterval is how often a look is tried until the bus has been read.
const startInterval = 20 * time.Millisecond

// Run looks at the folders until ctx ends. A folder that cannot be read is a problem to
// be shown, not a reason to end: nothing changes until it can be.
func (f *Folders) Run(ctx context.Context) error {
	for {
		pause := f.cfg.Interval
		if f.look(ctx); !f.begun() {
			pause = min(pause, startInterval)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *Folders) begun() bool {
	_, ok := f.Looked()
	return ok
}

// look takes in what changed.
func (f *Folders) look(ctx context.Context) {
	if _, _, ok := f.desk.View(); !ok {
		return
	}
	s := &sight{seen: map[string]bool{}}
	for _, dir := range f.cfg.Dirs {
		f.lookInto(dir, s)
	}
	f.retire(s)
	f.submit(ctx, s)
	problems := s.problems
	for _, origin := range f.origins() {
		problems = append(problems, f.files[origin].problems...)
	}
	_, revision, _ := f.desk.View()
	f.mu.Lock()
	f.problems = problems
	if !f.looked {
		f.looked, f.revision = true, revision
	}
	f.mu.Unlock()
	f.tell(append(slices.Clone(problems), f.left()...))
}

// lookInto looks at one folder.
func (f *Folders) lookInto(dir string, s *sight) {
	root, err := openDir(dir)
	if err != nil {
		s.keep(dir, reason(err))
		return
	}
	defer root.Close()
	f.see(root, dir, s.scan(root, dir), s)
}

// tell logs the problems that were not there before.
func (f *Folders) tell(problems []*pilotv1.Problem) {
	known := map[[3]string]bool{}
	for _, p := range f.told {
		known[nameOf(p)] = true
	}
	for _, p := range problems {
		if !known[nameOf(p)] {
			f.log.Warn("watched file", "file", p.GetFile(), "line", p.GetLine(), "object", p.GetObject(),
				"field", p.GetField(), "problem", p.GetMessage())
		}
	}
	f.told = problems
}

// nameOf tells problems apart.
func nameOf(p *pilotv1.Problem) [3]string {
	return [3]string{p.GetFile() + ":" + strconv.Itoa(int(p.GetLine())), p.GetObject(), p.GetMessage()}
}

// origins returns the files that are known, in order.
func (f *Folders) origins() []string {
	out := make([]string, 0, len(f.files))
	for origin := range f.files {
		out = append(out, origin)
	}
	slices.Sort(out)
	return out
}

// submit hands in each file that has something new, again and again while that leads
// anywhere, since one file may need another.
func (f *Folders) submit(ctx context.Context, s *sight) {
	f.drift(s)
	for progress := true; progress && ctx.Err() == nil; {
		progress = false
		for _, origin := range f.origins() {
			x := f.files[origin]
			if !x.pending {
				continue
			}
			if err := f.hand(ctx, origin, x); err != nil {
				x.problems = problemsOf(x.path, err)
				continue
			}
			progress, x.pending, x.problems = true, false, nil
		}
	}
	maps.DeleteFunc(f.files, func(_ string, x *file) bool { return x.gone && !x.pending })
}

// drift compares what is in force with what the files say, so that objects of files
// that went while nobody looked are found, and what others changed is put right.
func (f *Folders) drift(s *sight) {
	view, _, _ := f.desk.View()
	owned := map[string]int{}
	strange := map[string]bool{} // has an object that its file does not
	for ref, e := range view {
		origin := e.Object.GetMetadata().GetOrigin()
		path, isFile := strings.CutPrefix(origin, originPrefix)
		if !isFile || !f.cfg.Dirs.hold(path) || s.kept(path) {
			continue
		}
		x := f.files[origin]
		if x == nil {
			x = &file{path: path, gone: true, pending: true}
			f.files[origin] = x
		}
		owned[origin]++
		strange[origin] = strange[origin] || !x.has(ref)
	}
	for origin, x := range f.files {
		if x.readable && !s.kept(x.path) && (strange[origin] || owned[origin] != len(x.docs)) {
			x.pending = true
		}
	}
}

// problemsOf makes a file's problems of an error.
func problemsOf(path string, err error) []*pilotv1.Problem {
	var r *ingest.Refusal
	if !errors.As(err, &r) {
		text := err.Error()
		if fault.Of(err) == fault.Internal {
			text = "not written: " + text
		}
		return []*pilotv1.Problem{{File: path, Message: text}}
	}
	told := ingest.Told(r.Problems)
	for _, p := range told {
		if p.GetFile() == "" {
			p.File = path
		}
	}
	return told
}
