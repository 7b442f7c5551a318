package folder

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	leadsOut     = "is a link that leads out of the folder and is not followed: put what it leads to here, or a relative link to a place inside; until then nothing of it changes"
	leadsNowhere = "is a link that leads nowhere: mend or remove it; until then nothing of it changes"
	noObjects    = "has no objects; what it had stays in force: remove the file to remove that"
)

// notFile is what is said of something that is no file.
func notFile(kind string) string {
	return "is " + kind + " and not a file: rename or remove it; until then nothing of it changes"
}

// TestWhatIsNoFile: whatever lies in the folder under a document's name is shown, nothing
// of it is opened, and the documents beside it are taken.
func TestWhatIsNoFile(t *testing.T) {
	b := open(t)
	outside := t.TempDir()
	b.must(os.WriteFile(filepath.Join(outside, "secret.yaml"), []byte(handler("secret")), 0o600))
	b.write("good.yaml", handler("good"))
	b.write("empty.yaml", "")
	b.write("comment.yaml", "# all that was here\n")
	b.write("folder.yaml/inner.yaml", handler("inner"))
	b.must(syscall.Mkfifo(filepath.Join(b.dir, "pipe.yaml"), 0o600))
	b.must(os.Mkdir(filepath.Join(b.dir, "sub"), 0o755))
	b.must(syscall.Mkfifo(filepath.Join(b.dir, "sub", "pipe.json"), 0o600))
	socket, err := net.Listen("unix", filepath.Join(b.dir, "socket.yml"))
	b.must(err)
	t.Cleanup(func() { socket.Close() })
	for name, to := range map[string]string{
		"absolute.yaml": filepath.Join(b.dir, "good.yaml"),
		"file.yaml":     filepath.Join(outside, "secret.yaml"),
		"rules":         outside,
		"nowhere.yaml":  "missing",
		"piped.yaml":    "pipe.yaml",
		"round.yaml":    "round.yaml",
		"up.yaml":       "../up.yaml",
	} {
		b.must(os.Symlink(to, filepath.Join(b.dir, name)))
	}
	b.want("each is named", "Handler good file:good.yaml",
		"! absolute.yaml:0: : "+leadsOut,
		"! comment.yaml:0: : "+noObjects,
		"! empty.yaml:0: : "+noObjects,
		"! file.yaml:0: : "+leadsOut,
		"! folder.yaml:0: : "+notFile("a folder"),
		"! nowhere.yaml:0: : "+leadsNowhere,
		"! pipe.yaml:0: : "+notFile("a named pipe"),
		"! piped.yaml:0: : "+notFile("a named pipe"),
		"! round.yaml:0: : cannot be read: too many levels of symbolic links",
		"! rules:0: : "+leadsOut,
		"! socket.yml:0: : "+notFile("a socket"),
		"! sub/pipe.json:0: : "+notFile("a named pipe"),
		"! up.yaml:0: : "+leadsOut,
	)
}

// TestUnfitForAWhile: what cannot be read keeps what it had, and is read again when it can be.
func TestUnfitForAWhile(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b *bench, path string) error
		say   string
	}{
		"empty":        {func(_ *bench, path string) error { return os.WriteFile(path, nil, 0o600) }, noObjects},
		"a named pipe": {func(_ *bench, path string) error { return syscall.Mkfifo(path, 0o600) }, notFile("a named pipe")},
		"a folder":     {func(_ *bench, path string) error { return os.Mkdir(path, 0o755) }, notFile("a folder")},
		"a link out":   {func(_ *bench, path string) error { return os.Symlink("/dev/null", path) }, leadsOut},
		"a lost link":  {func(_ *bench, path string) error { return os.Symlink("missing", path) }, leadsNowhere},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			path, kept := filepath.Join(b.dir, "a.yaml"), filepath.Join(t.TempDir(), "a.yaml")
			b.write("a.yaml", handler("a"))
			b.want("good", "Handler a file:a.yaml")
			b.must(os.Rename(path, kept))
			b.must(c.spoil(b, path))
			old := time.Now().Add(-time.Hour)
			if !strings.Contains(name, "link") {
				b.must(os.Chtimes(path, old, old))
			}
			wrong := "! a.yaml:0: : " + c.say
			b.want("spoilt", "Handler a file:a.yaml", wrong)
			b.restart(b.dir)
			b.want("spoilt, seen for the first time", "Handler a file:a.yaml", wrong)
			b.must(os.Remove(path))
			b.must(os.Rename(kept, path))
			b.want("as it was", "Handler a file:a.yaml")
			b.must(os.Remove(path))
			b.want("gone")
		})
	}
}

// TestUnreadableSubfolder: it holds up nothing but itself.
func TestUnreadableSubfolder(t *testing.T) {
	b := open(t)
	b.write("a.yaml", handler("a"))
	b.write("sub/b.yaml", handler("b"))
	b.want("good", "Handler a file:a.yaml", "Handler b file:sub/b.yaml")
	away := filepath.Join(t.TempDir(), "sub")
	b.must(os.Rename(filepath.Join(b.dir, "sub"), away))
	b.must(os.Symlink(away, filepath.Join(b.dir, "sub")))
	b.write("a.yaml", handler("a2")+handler("b"))
	b.restart(b.dir)
	b.want("out of reach", "Handler a file:a.yaml", "Handler b file:sub/b.yaml", "! sub:0: : "+leadsOut,
		"! a.yaml:9: metadata.name: comes from the file sub/b.yaml; change it there")
	b.must(os.Remove(filepath.Join(b.dir, "sub")))
	b.want("gone", "Handler a2 file:a.yaml", "Handler b file:a.yaml")
}

// TestMountedConfigMap: files, and a subfolder, are links into a folder that a link leads
// to, which is changed for another one.
func TestMountedConfigMap(t *testing.T) {
	b := open(t)
	mount := func(version, name string) {
		b.write(version+"/a.yaml", handler(name))
		b.write(version+"/sub/b.yaml", handler(name+"-sub"))
		b.must(os.Symlink(version, filepath.Join(b.dir, "..data_tmp")))
		b.must(os.Rename(filepath.Join(b.dir, "..data_tmp"), filepath.Join(b.dir, "..data")))
	}
	mount("..2026_11_20", "one")
	b.must(os.Symlink("..data/a.yaml", filepath.Join(b.dir, "a.yaml")))
	b.must(os.Symlink("..data/sub", filepath.Join(b.dir, "sub")))
	b.want("mounted", "Handler one file:a.yaml", "Handler one-sub file:sub/b.yaml")
	mount("..2026_11_21", "two") // of the same size and, as written here, the same time
	b.must(os.RemoveAll(filepath.Join(b.dir, "..2026_11_20")))
	b.want("changed", "Handler two file:a.yaml", "Handler two-sub file:sub/b.yaml")
}
