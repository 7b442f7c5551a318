// Package folder keeps the objects of a watched folder. In: files, looked at again and
// again. Out: batches, one for each file that changed. It decides nothing about
// documents; what is wrong with a file is kept for the status, and the file's last good
// content stays in force.
//
// Files end in .yaml, .yml or .json and lie in the folder or in one of its direct
// subfolders. Names that begin with a dot are passed over, and so is what a symbolic
// link outside of the folder would lead to. The file is the truth about its objects:
// metadata.revision in it means nothing, they cannot be changed in any other way, and
// they go when it goes. An object that moves from one file to another stays in force.
// Of two files with one object the one that had it first keeps it.
package folder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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

// originPrefix begins the origin of every object from a file.
const originPrefix = "file:"

// writerName is who writes, in the record of the bus.
const writerName = "folder"

// Config is what a Folder needs to know.
type Config struct {
	// Dir is the folder to watch.
	Dir string
	// Interval between looks, DefaultInterval if 0.
	Interval time.Duration
}

// desk is where batches are handed in.
type desk interface {
	Submit(ctx context.Context, b intake.Batch) (*intake.Result, error)
	View() (v ingest.View, revision uint64, ok bool)
}

// Folder watches one folder. Problems is safe for concurrent use; Run runs once.
type Folder struct {
	cfg   Config
	desk  desk
	log   *slog.Logger
	files map[string]*file // by origin; of Run's goroutine

	mu       sync.Mutex
	problems []*pilotv1.Problem
}

// New returns a Folder that hands its batches to d. Errors: a path that cannot be made
// absolute.
func New(cfg Config, d desk, log *slog.Logger) (*Folder, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("folder %s: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	return &Folder{cfg: cfg, desk: d, log: log.With("folder", dir), files: map[string]*file{}}, nil
}

// Problems returns what is wrong with the files now, by path.
func (f *Folder) Problems() []*pilotv1.Problem {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problems
}

// Run looks at the folder until ctx ends. A folder that cannot be read is a problem to
// be shown, not a reason to end: nothing changes until it can be.
func (f *Folder) Run(ctx context.Context) error {
	tick := time.NewTicker(f.cfg.Interval)
	defer tick.Stop()
	for {
		f.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look takes in what changed.
func (f *Folder) look(ctx context.Context) {
	if _, _, ok := f.desk.View(); !ok {
		return
	}
	root, err := os.OpenRoot(f.cfg.Dir)
	if err != nil {
		f.publish([]*pilotv1.Problem{{File: f.cfg.Dir, Message: "the folder cannot be read, nothing of it changes: " + reason(err)}})
		return
	}
	defer root.Close()
	found, err := scan(root)
	if err != nil {
		f.publish([]*pilotv1.Problem{{File: f.cfg.Dir, Message: "the folder cannot be read, nothing of it changes: " + reason(err)}})
		return
	}
	f.read(root, found)
	f.submit(ctx)
	var all []*pilotv1.Problem
	for _, origin := range f.origins() {
		all = append(all, f.files[origin].problems...)
	}
	f.publish(all)
}

// reason leaves out the operation and the path, which the problem has already.
func reason(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// publish shows problems, and logs those that were not there before.
func (f *Folder) publish(problems []*pilotv1.Problem) {
	f.mu.Lock()
	old := f.problems
	f.problems = problems
	f.mu.Unlock()
	for _, p := range problems {
		known := slices.ContainsFunc(old, func(q *pilotv1.Problem) bool {
			return p.GetFile() == q.GetFile() && p.GetLine() == q.GetLine() && p.GetMessage() == q.GetMessage()
		})
		if !known {
			f.log.Warn("file not taken", "file", p.GetFile(), "line", p.GetLine(), "object", p.GetObject(),
				"field", p.GetField(), "problem", p.GetMessage())
		}
	}
}

// origins returns the files that are known, in order.
func (f *Folder) origins() []string {
	out := make([]string, 0, len(f.files))
	for origin := range f.files {
		out = append(out, origin)
	}
	slices.Sort(out)
	return out
}

// submit hands in each file that has something new, again and again while that leads
// anywhere, since one file may need another.
func (f *Folder) submit(ctx context.Context) {
	f.drift()
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
			if x.gone {
				delete(f.files, origin)
			}
		}
	}
}

// drift compares what is in force with what the files say, so that objects of files
// that went while nobody looked are found, and what others changed is put right.
func (f *Folder) drift() {
	view, _, _ := f.desk.View()
	owned := map[string]int{}
	strange := map[string]bool{} // has an object that its file does not
	for ref, e := range view {
		origin := e.Object.GetMetadata().GetOrigin()
		if !f.ours(origin) {
			continue
		}
		x := f.files[origin]
		if x == nil {
			x = &file{path: strings.TrimPrefix(origin, originPrefix), gone: true, pending: true}
			f.files[origin] = x
		}
		owned[origin]++
		strange[origin] = strange[origin] || !x.has(ref)
	}
	for origin, x := range f.files {
		if x.readable && (strange[origin] || owned[origin] != len(x.docs)) {
			x.pending = true
		}
	}
}

// ours tells whether an origin is a file of this folder.
func (f *Folder) ours(origin string) bool {
	return strings.HasPrefix(origin, originPrefix+f.cfg.Dir+string(filepath.Separator))
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
	for _, p := range r.Problems {
		if p.GetFile() == "" {
			p.File = path
		}
	}
	return r.Problems
}
