package folder

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// left is what is said of an object whose file is not watched any more.
func left(file, name string) string {
	return "! " + file + ":0: Handler default/" + name + ": stays in force, but pilot does not watch this file any more: " +
		"apply the object, delete it, or put it into a folder that is watched"
}

// submitted is what the API does.
func (b *bench) submitted(in ingest.Input) error {
	in.Origin = "api"
	_, err := b.bus.Submit(context.Background(), intake.Batch{Input: in})
	return err
}

// TestAMovedFolder: its objects move with it; what did not come along stays, is shown,
// and can be had by anybody.
func TestAMovedFolder(t *testing.T) {
	b := open(t)
	b.write("a.yaml", handler("a"))
	for _, name := range []string{"gone", "applied", "same"} {
		b.write("lost-"+name+".yaml", handler(name))
	}
	b.want("before", "Handler a file:a.yaml", "Handler applied file:lost-applied.yaml",
		"Handler gone file:lost-gone.yaml", "Handler same file:lost-same.yaml")
	moved := filepath.Join(t.TempDir(), "moved")
	b.must(os.Rename(b.dir, moved))
	for _, name := range []string{"gone", "applied", "same"} {
		b.must(os.Remove(filepath.Join(moved, "lost-"+name+".yaml")))
	}
	b.restart(moved)
	lost := []string{"Handler applied file:lost-applied.yaml", "Handler gone file:lost-gone.yaml", "Handler same file:lost-same.yaml",
		left("lost-applied.yaml", "applied"), left("lost-gone.yaml", "gone"), left("lost-same.yaml", "same")}
	b.want("moved", append(lost, "Handler a file:"+moved+"/a.yaml")...)

	b.must(b.submitted(ingest.Input{Deletes: []model.Ref{{Kind: "Handler", Namespace: "default", Name: "gone"}}}))
	docs, _ := decode.Documents("-", []byte("---\napiVersion: outrigger.dev/v1\nkind: Handler\nmetadata: {name: applied}\nspec: {adapter: stdio}\n"+handler("same")), "")
	b.must(b.submitted(ingest.Input{Documents: docs}))
	b.want("taken by the API", "Handler a file:"+moved+"/a.yaml", "Handler applied api", "Handler same api")
	if err := b.submitted(ingest.Input{Deletes: []model.Ref{{Kind: "Handler", Namespace: "default", Name: "a"}}}); err == nil {
		t.Error("an object of a watched file was deleted by the API")
	}
}

// TestAFolderIsWatchedNoMore: nothing goes with it, and all is as it was when it comes back.
func TestAFolderIsWatchedNoMore(t *testing.T) {
	b := open(t)
	other := t.TempDir()
	b.write("a.yaml", handler("a"))
	b.write("b.yaml", handler("b"))
	b.restart(b.dir, other)
	all := []string{"Handler a file:a.yaml", "Handler b file:b.yaml"}
	b.want("both", all...)
	b.restart()
	b.want("none", append(all, left("a.yaml", "a"), left("b.yaml", "b"))...)
	b.must(os.Rename(filepath.Join(b.dir, "b.yaml"), filepath.Join(other, "b.yaml")))
	b.restart(other)
	b.want("the other has one of them", "Handler a file:a.yaml", "Handler b file:"+other+"/b.yaml", left("a.yaml", "a"))
	b.restart(b.dir, other)
	b.want("back", "Handler a file:a.yaml", "Handler b file:"+other+"/b.yaml")
}

// TestTwoFolders: an object has one home of all folders, and moves between them without
// a break.
func TestTwoFolders(t *testing.T) {
	b := open(t)
	other := filepath.Join(t.TempDir(), "other")
	b.restart(b.dir, other, other+"/")
	b.write("a.yaml", handler("h"))
	nowhere := "! " + other + ":0: : the folder cannot be read, nothing of it changes: no such file or directory"
	b.want("one is not there", "Handler h file:a.yaml", nowhere)
	b.must(os.Mkdir(other, 0o755))
	b.must(os.Link(filepath.Join(b.dir, "a.yaml"), filepath.Join(other, "a.yaml")))
	b.want("in both", "Handler h file:a.yaml", "! "+other+"/a.yaml:4: metadata.name: comes from the file a.yaml; change it there")
	_, before, _ := b.bus.View()
	b.must(os.Remove(filepath.Join(b.dir, "a.yaml")))
	b.want("in the second", "Handler h file:"+other+"/a.yaml")
	if _, after, _ := b.bus.View(); after != before+1 {
		t.Errorf("the move took %d writes, want 1: nothing is deleted", after-before)
	}
	b.must(os.Rename(other, other+"-away"))
	b.restart(b.dir, other)
	b.write("a.yaml", handler("h"))
	b.want("its folder is away", "Handler h file:"+other+"/a.yaml", nowhere,
		"! a.yaml:4: metadata.name: comes from the file "+other+"/a.yaml; change it there")
}

// TestAFolderInAnother: each keeps to what it looks at.
func TestAFolderInAnother(t *testing.T) {
	b := open(t)
	sub := filepath.Join(b.dir, "sub")
	b.restart(b.dir, sub)
	b.write("sub/b.yaml", handler("b"))
	b.write("sub/deeper/c.yaml", handler("c"))
	all := []string{"Handler b file:sub/b.yaml", "Handler c file:sub/deeper/c.yaml"}
	b.want("both", all...)
	b.want("and again", all...)
	b.restart(b.dir)
	b.want("too deep for the outer", append(all, left("sub/deeper/c.yaml", "c"))...)
}

func TestKeep(t *testing.T) {
	if !(Dirs{"/"}).Keep("file:/a.yaml") {
		t.Error("the root folder does not keep its files")
	}
	d := Dirs{"/etc/mesh", "/etc/more"}
	for origin, want := range map[string]bool{
		"api": true, "registry:config": true,
		"file:/etc/mesh/a.yaml": true, "file:/etc/mesh/sub/a.json": true, "file:/etc/more/a.yml": true,
		"file:/etc/mesh/a/b/c.yaml": false, "file:/etc/mesh-old/a.yaml": false, "file:/etc/a.yaml": false,
		"file:/etc/mesh": false, "file:/etc/mesh/.hidden/a.yaml": false, "file:/etc/mesh/a.txt": false,
		"file:/etc/mesh/a.yaml/b.yaml": false, "file:a.yaml": false,
	} {
		if got := d.Keep(origin); got != want {
			t.Errorf("%s: kept %v, want %v", origin, got, want)
		}
	}
}
