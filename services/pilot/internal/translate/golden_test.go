package translate_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/proto/decode"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

var update = flag.Bool("update", false, "rewrite the wanted output")

// Each file has documents, one or more "proxy" lines in its comment, and what these
// proxies are to have: names and sources, or with "show: TYPE NAME" the whole resource.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "objects" })
	if i < 0 {
		t.Fatal("no -- objects --")
	}
	set := translate.NewSet(snapshot(t, a.Files[i].Data), translate.Mesh{
		RequestTimeout: 15 * time.Second, ConnectTimeout: time.Second, TraceSample: 100, Policy: true,
	}, nil)
	var got strings.Builder
	for line := range strings.Lines(string(a.Comment)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0] == "#":
		case f[0] == "proxy":
			list(&got, f, set.Wants(proxy(t, set.Snapshot, f[1:])))
		case f[0] == "show":
			show(t, &got, set.Wants(proxy(t, set.Snapshot, f[3:])), f[1], f[2])
		default:
			t.Fatalf("%q: want proxy or show", line)
		}
	}
	j := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
	if *update {
		f := txtar.File{Name: "want", Data: []byte(got.String())}
		if j < 0 {
			a.Files = append(a.Files, f)
		} else {
			a.Files[j] = f
		}
		if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if j < 0 {
		t.Fatal("no -- want --; run with -update and read what it wrote")
	}
	if d := cmp.Diff(string(a.Files[j].Data), got.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// snapshot reads documents; the nth one has revision n.
func snapshot(t *testing.T, docs []byte) *model.Snapshot {
	t.Helper()
	decoded, problems := decode.Documents("objects", docs, "default")
	if problems != nil {
		t.Fatal(prototext.Format(problems[0]))
	}
	in := model.Input{Settings: model.Settings{Domain: "cluster.local", TrustDomain: "cluster.local", RootNamespaces: []string{"outrigger-system"}}}
	for n, d := range decoded {
		d.Object.Metadata.Revision = uint64(n + 1)
		in.Revision = d.Object.Metadata.Revision
		if d.Object.GetService() != nil || d.Object.GetWorkload() != nil {
			in.Registry = append(in.Registry, d.Object)
			continue
		}
		in.Config = append(in.Config, d.Object)
	}
	return model.Build(in)
}

// proxy is "sidecar NAME [traces]", "ingress" or "egress".
func proxy(t *testing.T, s *model.Snapshot, f []string) translate.Proxy {
	t.Helper()
	p := translate.Proxy{Role: translate.Role(f[0]), Traces: slices.Contains(f, "traces")}
	if p.Role != translate.Sidecar {
		id, err := spiffe.New("cluster.local", "outrigger-system", f[0])
		if err != nil {
			t.Fatal(err)
		}
		p.Workload = &model.Workload{Ref: model.Ref{Kind: "Workload", Namespace: "outrigger-system", Name: f[0]}, Account: id}
		p.ListenAddress, p.ListenPort = "10.77.0.1", 8080
		return p
	}
	if p.Workload = s.Workloads[model.Ref{Kind: "Workload", Namespace: "default", Name: f[1]}]; p.Workload == nil {
		t.Fatalf("no workload %q", f[1])
	}
	return p
}

func list(b *strings.Builder, f []string, w *translate.Wants) {
	fmt.Fprintln(b, strings.Join(f, " "))
	for ty, byName := range w {
		for _, name := range sorted(byName) {
			fmt.Fprintf(b, "  %s %s", short(translate.Type(ty)), name)
			for _, ref := range byName[name].Sources {
				fmt.Fprintf(b, " <- %s", ref)
			}
			fmt.Fprintln(b)
		}
	}
}

func sorted(m map[string]*translate.Resource) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func short(t translate.Type) string {
	return [...]string{"cluster", "endpoint", "listener", "route"}[t]
}

func show(t *testing.T, b *strings.Builder, w *translate.Wants, ty, name string) {
	t.Helper()
	for i, byName := range w {
		res := byName[name]
		if short(translate.Type(i)) != ty || res == nil {
			continue
		}
		m, err := res.Body.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		text, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		out, err := yaml.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(b, "%s %s:\n%s", ty, name, out)
		return
	}
	t.Fatalf("no %s %q", ty, name)
}

// three are services with a workload each.
func three() string {
	var docs strings.Builder
	for i := range 3 {
		n := strconv.Itoa(i)
		docs.WriteString("---\napiVersion: outrigger.dev/v1\nkind: Service\nmetadata: {name: s" + n + "}\nspec: {ports: [{name: http, number: 80, protocol: HTTP}], selector: {app: s" + n + "}, address: 10.78.0." + n + "}\n")
		docs.WriteString("---\napiVersion: outrigger.dev/v1\nkind: Workload\nmetadata: {name: w" + n + "}\nspec: {address: 10.77.1." + n + ", labels: {app: s" + n + "}, account: a" + n + "}\n")
	}
	return docs.String()
}

// TestARuleForOneCallerChangesOnlyItsRoutes: a listener that changed with it would close
// the connections of requests under way.
func TestARuleForOneCallerChangesOnlyItsRoutes(t *testing.T) {
	rule := "---\napiVersion: outrigger.dev/v1\nkind: RouteRule\nmetadata: {name: r}\nspec: {destination: {name: s0}, match: {source: {name: s1}}, httpReqTimeout: {simpleTimeout: {timeout: 1s}}}\n"
	before := translate.NewSet(snapshot(t, []byte(three())), translate.Mesh{}, nil)
	after := translate.NewSet(snapshot(t, []byte(three()+rule)), translate.Mesh{}, before)
	for caller, want := range map[string][]string{"w1": {"route 80@default"}, "w2": nil} {
		a, b := before.Wants(proxy(t, before.Snapshot, []string{"sidecar", caller})), after.Wants(proxy(t, after.Snapshot, []string{"sidecar", caller}))
		var changed []string
		for ty := range b {
			for _, name := range sorted(b[ty]) {
				if old := a[ty][name]; old == nil || old.Version != b[ty][name].Version {
					changed = append(changed, short(translate.Type(ty))+" "+name)
				}
			}
		}
		if d := cmp.Diff(want, changed); d != "" {
			t.Errorf("%s: what changed (-want +got):\n%s", caller, d)
		}
	}
}

// TestOnceForAll: what did not change is the same resource in the next set, and one
// view has the same bytes.
func TestOnceForAll(t *testing.T) {
	first := translate.NewSet(snapshot(t, []byte(three())), translate.Mesh{}, nil)
	rule := "---\napiVersion: outrigger.dev/v1\nkind: RouteRule\nmetadata: {name: r}\nspec: {destination: {name: s0}, httpReqTimeout: {simpleTimeout: {timeout: 1s}}}\n"
	second := translate.NewSet(snapshot(t, []byte(three()+rule)), translate.Mesh{}, first)
	a, b := first.Wants(proxy(t, first.Snapshot, []string{"sidecar", "w0"})), second.Wants(proxy(t, second.Snapshot, []string{"sidecar", "w0"}))
	other := second.Wants(proxy(t, second.Snapshot, []string{"sidecar", "w1"}))
	for ty := range b {
		for name, res := range b[ty] {
			changed := ty == int(translate.Route) && name == "80@default"
			if (a[ty][name] == res) == changed {
				t.Errorf("%s %s: taken over %v, want %v", short(translate.Type(ty)), name, a[ty][name] == res, !changed)
			}
			if o := other[ty][name]; o != nil && o != res && name != "inbound" {
				t.Errorf("%s %s: two proxies of one view have different resources", short(translate.Type(ty)), name)
			}
		}
	}
}

// TestAnOldSetMayBeAskedBesideANewOne: a slow proxy is still served from the set before.
func TestAnOldSetMayBeAskedBesideANewOne(t *testing.T) {
	snap := snapshot(t, []byte(three()))
	var all sync.WaitGroup
	defer all.Wait()
	var last *translate.Set
	for range 20 {
		before := last
		last = translate.NewSet(snap, translate.Mesh{}, before)
		for _, set := range []*translate.Set{before, last} {
			for _, name := range []string{"w0", "w1", "w2"} {
				if set != nil {
					p := proxy(t, snap, []string{"sidecar", name})
					all.Go(func() { set.Wants(p) })
				}
			}
		}
	}
}
