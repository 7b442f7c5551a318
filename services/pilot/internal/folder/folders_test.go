package folder

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake/intaketest"
)

// bench is folders under test. Files are written as if an hour ago.
type bench struct {
	*Folders
	t   *testing.T
	bus *intaketest.Bus
	dir string
}

func open(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	b.bus = intaketest.OpenWith(t, func(origin string) bool { return b.cfg.Dirs.Keep(origin) })
	b.restart(b.dir)
	return b
}

// restart forgets what was known, and watches these folders from now on.
func (b *bench) restart(dirs ...string) {
	b.t.Helper()
	absolute, err := Absolute(dirs)
	b.must(err)
	b.Folders = New(Config{Dirs: absolute}, b.bus, slog.New(slog.DiscardHandler))
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	b.must(os.MkdirAll(filepath.Dir(path), 0o755))
	b.must(os.WriteFile(path, []byte(text), 0o600))
	old := time.Now().Add(-time.Hour).Add(time.Duration(len(text)) * time.Second)
	b.must(os.Chtimes(path, old, old))
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// want looks once and compares objects with their files, and problems.
func (b *bench) want(step string, want ...string) {
	b.t.Helper()
	b.look(context.Background())
	got := []string{}
	view, _, _ := b.bus.View()
	for ref, e := range view {
		origin := e.Object.GetMetadata().GetOrigin()
		got = append(got, ref.Kind+" "+ref.Name+" "+strings.Replace(origin, b.dir+"/", "", 1))
	}
	for _, p := range b.Problems() {
		what := p.Field
		if what == "" {
			what = p.Object
		}
		got = append(got, strings.ReplaceAll(fmt.Sprintf("! %s:%d: %s: %s", p.File, p.Line, what, p.Message), b.dir+"/", ""))
	}
	slices.Sort(got)
	slices.Sort(want)
	want = append([]string{}, want...)
	if d := cmp.Diff(want, got); d != "" {
		b.t.Fatalf("%s (-want +got):\n%s", step, d)
	}
}

func handler(name string) string {
	return "---\napiVersion: outrigger.dev/v1\nkind: Handler\nmetadata: {name: " + name + "}\nspec: {adapter: noop}\n"
}

func instance(name string) string {
	return "---\napiVersion: outrigger.dev/v1\nkind: Instance\nmetadata: {name: " + name + "}\nspec: {template: checknothing}\n"
}

const useHI = "---\napiVersion: outrigger.dev/v1\nkind: Rule\nmetadata: {name: r}\nspec: {actions: [{handler: h, instances: [i]}]}\n"

func TestTheFirstLookLeadsToARevision(t *testing.T) {
	b := open(t)
	b.write("a.yaml", handler("a"))
	b.write("bad.yaml", "kind: broken\n")
	b.look(t.Context())
	_, now, _ := b.bus.View()
	if revision, ok := b.Looked(); !ok || revision != now || now == 0 {
		t.Errorf("got revision %d, %v; what is in force has %d", revision, ok, now)
	}
	b.write("b.yaml", handler("b"))
	b.look(t.Context())
	if revision, _ := b.Looked(); revision != now {
		t.Errorf("a later look led to revision %d, and the first to %d", revision, now)
	}
}

func TestFileByFile(t *testing.T) {
	b := open(t)
	if _, ok := b.Looked(); ok {
		t.Error("all folders were looked at before the first look")
	}
	b.want("empty")
	b.write("b.yaml", handler("b1")+handler("b2"))
	b.write("sub/c.yml", handler("c"))
	b.write("d.json", `{"apiVersion":"outrigger.dev/v1","kind":"Handler","metadata":{"name":"d"},"spec":{"adapter":"noop"}}`)
	b.write("sub/deeper/e.yaml", handler("e"))
	b.write(".hidden.yaml", handler("hidden"))
	b.write("README.md", "not a document")
	first := []string{"Handler b1 file:b.yaml", "Handler b2 file:b.yaml", "Handler c file:sub/c.yml", "Handler d file:d.json"}
	b.want("all at once", first...)

	b.write("b.yaml", handler("b1")+"kind: broken\n")
	b.write("d.json", strings.Replace(handler("d"), "noop", "nop", 1))
	b.write("x.yaml", handler("x"))
	b.want("broken ones among good ones", append(first, "Handler x file:x.yaml",
		"! b.yaml:6: kind: the key appears twice, first on line 3",
		"! d.json:5: spec.adapter: unknown adapter \"nop\"; want one of denier, list, noop, prometheus, stdio")...)

	b.write("b.yaml", handler("b2")+handler("b3"))
	b.must(os.Remove(filepath.Join(b.dir, "d.json")))
	b.want("mended and removed", "Handler b2 file:b.yaml", "Handler b3 file:b.yaml", "Handler c file:sub/c.yml", "Handler x file:x.yaml")

	b.must(os.RemoveAll(b.dir))
	b.want("no folder", "Handler b2 file:b.yaml", "Handler b3 file:b.yaml", "Handler c file:sub/c.yml", "Handler x file:x.yaml",
		"! "+b.dir+":0: : the folder cannot be read, nothing of it changes: no such file or directory")
}

// TestRevisionInAFile: a condition that would hold once, or never, is refused; the file
// keeps what it had.
func TestRevisionInAFile(t *testing.T) {
	b := open(t)
	b.write("a.yaml", handler("a"))
	b.want("without", "Handler a file:a.yaml")
	b.write("a.yaml", strings.Replace(handler("a"), "{name: a", "{revision: 1, name: a", 1)+handler("b"))
	b.write("c.yaml", strings.Replace(handler("c"), "{name: c", `{resourceVersion: "7", name: c`, 1))
	const message = "metadata.revision: not in a watched folder: what a file says is written whatever the object's revision; " +
		"take it out, or use `outrigger apply` for a conditional write"
	b.want("with", "Handler a file:a.yaml", "! a.yaml:4: "+message, "! c.yaml:4: "+message)
	b.write("a.yaml", handler("a")+handler("b"))
	b.want("taken out", "Handler a file:a.yaml", "Handler b file:a.yaml", "! c.yaml:4: "+message)
}

func TestFilesNeedEachOther(t *testing.T) {
	b := open(t)
	b.write("1-rule.yaml", useHI)
	b.want("the rest is missing", "! 1-rule.yaml:5: spec.actions[0].handler: Handler default/h does not exist",
		"! 1-rule.yaml:5: spec.actions[0].instances[0]: Instance default/i does not exist")
	b.write("2-handler.yaml", handler("h"))
	b.write("3-instance.yaml", instance("i"))
	all := []string{"Rule r file:1-rule.yaml", "Handler h file:2-handler.yaml", "Instance i file:3-instance.yaml"}
	b.want("complete", all...)
	b.must(os.Remove(filepath.Join(b.dir, "2-handler.yaml")))
	b.want("still used", append(all, "! 2-handler.yaml:0: Handler default/h: is used by Rule default/r; delete or change that first")...)
	b.must(os.Remove(filepath.Join(b.dir, "1-rule.yaml")))
	b.want("no longer used", "Instance i file:3-instance.yaml")
}

func TestTwoFilesWithOneObject(t *testing.T) {
	b := open(t)
	b.write("b.yaml", handler("h"))
	b.want("one", "Handler h file:b.yaml")
	b.write("a.yaml", handler("h")+handler("a"))
	b.want("the second is refused whole", "Handler h file:b.yaml",
		"! a.yaml:4: metadata.name: comes from the file b.yaml; change it there")
	b.write("b.yaml", handler("other"))
	b.want("the first let go", "Handler h file:a.yaml", "Handler a file:a.yaml", "Handler other file:b.yaml")
}

// TestMoved: a renamed file, and an object that moves, stay in force all along.
func TestMoved(t *testing.T) {
	b := open(t)
	b.write("a.yaml", handler("h")+instance("i")+useHI)
	b.want("before", "Handler h file:a.yaml", "Instance i file:a.yaml", "Rule r file:a.yaml")
	seq := func() uint64 {
		view, revision, _ := b.bus.View()
		for _, e := range view {
			if e.Object.GetMetadata().GetRevision() != revision {
				t.Errorf("%s was not written with the last batch", e.Object.GetMetadata().GetName())
			}
		}
		return revision
	}
	before := seq()
	b.must(os.Rename(filepath.Join(b.dir, "a.yaml"), filepath.Join(b.dir, "z.yaml")))
	b.want("renamed", "Handler h file:z.yaml", "Instance i file:z.yaml", "Rule r file:z.yaml")
	if after := seq(); after != before+3 {
		t.Errorf("the renaming took %d writes, want 3: nothing is deleted", after-before)
	}
	b.write("z.yaml", useHI)
	b.write("zz.yaml", handler("h")+instance("i"))
	b.want("taken apart", "Handler h file:zz.yaml", "Instance i file:zz.yaml", "Rule r file:z.yaml")
}

func TestWhileNobodyLooked(t *testing.T) {
	b := open(t)
	b.write("a.yaml", handler("a"))
	b.write("b.yaml", handler("b"))
	b.want("before", "Handler a file:a.yaml", "Handler b file:b.yaml")
	b.must(os.Remove(filepath.Join(b.dir, "a.yaml")))
	b.restart(b.dir)
	b.want("after a restart", "Handler b file:b.yaml")
}

func TestObjectsOfTheAPIAreNotTaken(t *testing.T) {
	b := open(t)
	docs, _ := decode.Documents("api", []byte(handler("h")), "")
	if _, err := b.bus.Submit(context.Background(), intake.Batch{Input: ingest.Input{Documents: docs, Origin: "api"}}); err != nil {
		t.Fatal(err)
	}
	b.write("a.yaml", handler("h"))
	b.want("refused", "Handler h api", "! a.yaml:4: metadata.name: exists already and does not come from a file (origin api); delete it first")
}

func TestTooLarge(t *testing.T) {
	b := open(t)
	b.write("good.yaml", handler("good"))
	b.write("large.yaml", strings.Repeat("#", 10<<20))
	b.want("one is too large", "Handler good file:good.yaml", "! large.yaml:0: : the file has 10.0 MiB; at most 4.0 MiB are taken: split it")
}

// TestHalfWritten: a file that was changed just now is looked at twice.
func TestHalfWritten(t *testing.T) {
	b := open(t)
	b.cfg.Interval = time.Hour
	path := filepath.Join(b.dir, "a.yaml")
	b.must(os.WriteFile(path, []byte(handler("half")), 0o600))
	b.want("not yet")
	b.must(os.WriteFile(path, []byte(handler("half")+handler("whole")), 0o600))
	b.want("it changed again")
	b.want("it stayed as it was", "Handler half file:a.yaml", "Handler whole file:a.yaml")
}

func TestBusAway(t *testing.T) {
	b := open(t)
	b.bus.Config.Fail(fmt.Errorf("disk full"))
	b.write("a.yaml", handler("a"))
	b.want("cannot be written", "! a.yaml:0: : not written: disk full")
	b.bus.Config.Fail(nil)
	b.want("back again", "Handler a file:a.yaml")
}

func TestRunEnds(t *testing.T) {
	b := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
