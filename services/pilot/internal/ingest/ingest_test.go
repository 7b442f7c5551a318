package ingest

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

var update = flag.Bool("update", false, "rewrite the wanted parts of testdata")

var settings = Settings{Domain: "cluster.local", Addresses: netip.MustParsePrefix("10.78.0.0/16"),
	Ingress: "ingress.outrigger-system.svc.cluster.local"}

// world is a View that grows by plans, as the bus would have it.
type world struct {
	view     View
	revision uint64
}

func newWorld() *world { return &world{view: View{}} }

// take carries out a plan under an origin.
func (w *world) take(p *Plan, origin string) {
	w.revision++
	next := View{}
	for ref, e := range w.view {
		next[ref] = e
	}
	for _, ch := range p.Changes {
		ref := model.RefOf(ch.Object)
		switch ch.Action {
		case pilotv1.Applied_DELETED:
			delete(next, ref)
		case pilotv1.Applied_CREATED, pilotv1.Applied_UPDATED:
			o := proto.CloneOf(ch.Object)
			o.Metadata.Revision, o.Metadata.Origin = w.revision, origin
			next[ref] = Entry{Object: o, Seq: w.revision}
		}
	}
	w.view = next
}

func decoded(t *testing.T, name string, text []byte) []decode.Decoded {
	t.Helper()
	docs, problems := decode.Documents(name, text, "")
	if len(problems) > 0 {
		t.Fatalf("%s: %v", name, problems)
	}
	return docs
}

// TestStories runs each txtar file against one world. Its parts are steps: the name
// says what is done ("apply a.yaml", "delete …", "file <path>" for a document of that
// origin), and the part "want" after it holds what came of it.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			story(t, file, ar)
		})
	}
}

func story(t *testing.T, file string, ar *txtar.Archive) {
	t.Helper()
	w := newWorld()
	var fresh []txtar.File
	for i, step := range ar.Files {
		if step.Name == "want" {
			continue
		}
		got := w.step(t, step)
		want := ""
		if i+1 < len(ar.Files) && ar.Files[i+1].Name == "want" {
			want = string(ar.Files[i+1].Data)
		}
		fresh = append(fresh, step, txtar.File{Name: "want", Data: []byte(got)})
		if d := cmp.Diff(want, got); d != "" && !*update {
			t.Errorf("%s (-want +got):\n%s", step.Name, d)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(&txtar.Archive{Comment: ar.Comment, Files: fresh}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) step(t *testing.T, step txtar.File) string {
	t.Helper()
	verb, arg, _ := strings.Cut(step.Name, " ")
	in := Input{Origin: "api"}
	switch verb {
	case "apply":
		in.Documents = decoded(t, arg, step.Data)
	case "file":
		in.Documents, in.Origin = decoded(t, arg, step.Data), "file:"+arg
	case "delete":
		for line := range strings.Lines(string(step.Data)) {
			f := strings.Fields(line)
			in.Deletes = append(in.Deletes, model.Ref{Kind: f[0], Namespace: f[1], Name: f[2]})
		}
	default:
		t.Fatalf("step %q is not known", step.Name)
	}
	plan, refusal := Check(settings, w.view, in)
	if refusal != nil {
		return "refused: " + refusal.Kind.String() + "\n" + lines(refusal.Problems)
	}
	w.take(plan, in.Origin)
	var b strings.Builder
	for _, ch := range plan.Changes {
		fmt.Fprintf(&b, "%s %s\n", model.RefOf(ch.Object), strings.ToLower(ch.Action.String()))
	}
	if len(plan.Warnings) > 0 {
		b.WriteString("warnings:\n" + lines(plan.Warnings))
	}
	return b.String()
}

func lines(problems []*pilotv1.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s:%d:%d: [%s] %s: %s\n", p.File, p.Line, p.Column, p.Object, p.Field, p.Message)
	}
	return b.String()
}

func TestTooMany(t *testing.T) {
	var b strings.Builder
	for i := range 1001 {
		fmt.Fprintf(&b, "---\napiVersion: outrigger.dev/v1\nkind: Handler\nmetadata: {name: h%d}\nspec: {adapter: noop}\n", i)
	}
	docs := decoded(t, "many.yaml", []byte(b.String()))
	_, refusal := Check(settings, View{}, Input{Documents: docs, Origin: "api"})
	if refusal == nil || refusal.Error() != "Handler default/h1000: 1001 objects at once; at most 1000 are taken, and this is the next one" ||
		refusal.Problems[0].GetFile() != "many.yaml" || refusal.Problems[0].GetLine() != 5002 {
		t.Errorf("1001 objects: got %v, %v", refusal, refusal.Problems)
	}
	plan, refusal := Check(settings, View{}, Input{Documents: docs[:1000], Origin: "api"})
	if refusal != nil || len(plan.Changes) != 1000 {
		t.Errorf("1000 objects: got %v", refusal)
	}
}

// TestGivenAddress: an address that the registry gave away is taken.
func TestGivenAddress(t *testing.T) {
	const text = "apiVersion: outrigger.dev/v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: tcp, number: 1}], selector: {a: b}}\n"
	docs := decoded(t, "a.yaml", []byte(text))
	view := View{model.RefOf(docs[0].Object): {Object: docs[0].Object, Seq: 1, Address: "10.78.0.9"}}
	second := strings.NewReplacer("name: a}", "name: b}", "selector:", "address: 10.78.0.9, selector:").Replace(text)
	_, refusal := Check(settings, view, Input{Documents: decoded(t, "b.yaml", []byte(second)), Origin: "api"})
	if want := "Service default/b: spec.address: 10.78.0.9 is the address of Service default/a"; refusal == nil || refusal.Error() != want {
		t.Errorf("got %v, want %q", refusal, want)
	}
}

// TestSamples: what users are told to try is accepted, in both spellings of the API.
func TestSamples(t *testing.T) {
	const folder = "../../../../samples/bookinfo/"
	apply := func(w *world, path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		plan, refusal := Check(settings, w.view, Input{Documents: decoded(t, path, text), Origin: "api"})
		if refusal != nil {
			t.Errorf("%s:\n%s", path, lines(refusal.Problems))
			return
		}
		w.take(plan, "api")
	}
	for _, pattern := range []string{"*-rule-*.yaml", "istio/*.yaml"} {
		files, err := filepath.Glob(folder + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no samples: %v", pattern, err)
		}
		w := newWorld()
		apply(w, folder+"services/services.yaml")
		for _, f := range files {
			apply(w, f)
		}
	}
}

// TestAdopts: a file takes over what another one no longer holds, and only that.
func TestAdopts(t *testing.T) {
	w := newWorld()
	docs := decoded(t, "a.yaml", []byte("apiVersion: outrigger.dev/v1\nkind: Handler\nmetadata: {name: h}\nspec: {adapter: noop}\n"))
	plan, refusal := Check(settings, w.view, Input{Documents: docs, Origin: "file:a.yaml"})
	if refusal != nil {
		t.Fatal(refusal)
	}
	w.take(plan, "file:a.yaml")
	in := Input{Documents: docs, Origin: "file:b.yaml"}
	if _, refusal = Check(settings, w.view, in); refusal == nil {
		t.Fatal("b.yaml took an object of a.yaml")
	}
	in.Adopts = map[model.Ref]bool{model.RefOf(docs[0].Object): true}
	plan, refusal = Check(settings, w.view, in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if got := plan.Changes[0].Action; got != pilotv1.Applied_UPDATED {
		t.Errorf("adopted as it was: got %v, want UPDATED, since the origin changes", got)
	}
}
