package plan

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

var update = flag.Bool("update", false, "rewrite the wanted output in testdata")

// infos are adapters that are never made; one of them does not like a word.
func infos() []adapter.Info {
	return []adapter.Info{
		{Name: "denier", Templates: []string{template.NameCheckNothing, template.NameListEntry}, Params: &configv1.DenierParams{}},
		{Name: "list", Templates: []string{template.NameListEntry}, Params: &configv1.ListParams{}},
		{Name: "stdio", Templates: []string{template.NameLogEntry, template.NameMetric}, Params: &configv1.StdioParams{},
			Validate: func(_ proto.Message, env adapter.Env) error {
				for _, i := range env.Instances {
					if strings.HasPrefix(i.Name, "unwanted.") {
						return fmt.Errorf("instance %s is unwanted in %s", i.Name, env.Namespace)
					}
				}
				return nil
			}},
	}
}

// TestPlans: documents in, a description out. The section destinations has one
// "service namespace protocol" a line.
func TestPlans(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %v, %d archives", err, len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			objects := documents(t, file, a)
			p := Build(Input{Objects: objects, Adapters: infos(), Root: []string{"outrigger-system", "istio-system"}, Revision: 5})
			got := describe(p) + concerns(p, section(t, a, "destinations").Data)
			want := section(t, a, "want")
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(want.Data), got); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
		})
	}
}

func documents(t *testing.T, file string, a *txtar.Archive) []*configv1.Object {
	t.Helper()
	decoded, problems := decode.Documents(file, section(t, a, "objects.yaml").Data, "")
	for _, p := range problems {
		t.Errorf("%s:%d: %s", p.GetFile(), p.GetLine(), p.GetMessage())
	}
	var out []*configv1.Object
	for _, d := range decoded {
		out = append(out, d.Object)
	}
	return out
}

func section(t *testing.T, a *txtar.Archive, name string) *txtar.File {
	t.Helper()
	for i := range a.Files {
		if a.Files[i].Name == name {
			return &a.Files[i]
		}
	}
	t.Fatalf("archive has no section %q", name)
	return nil
}

func describe(p *Plan) string {
	var b bytes.Buffer
	for _, r := range p.Rules {
		fmt.Fprintf(&b, "rule %s: match %q, tcp %v, http %v, deny %v, timeout %v\n", r.Name, r.Match.Text(), r.TCP, r.HTTP, r.Deny, r.Timeout)
		for _, kind := range []struct {
			name    string
			actions []Action
		}{{"check", r.Checks}, {"report", r.Reports}} {
			for _, a := range kind.actions {
				for _, i := range a.Instances {
					fmt.Fprintf(&b, "\t%s %s of %s\n", kind.name, i.Type().Name, a.Handler.Name)
				}
			}
		}
	}
	for _, h := range p.Handlers {
		fmt.Fprintf(&b, "handler %s: %s\n", h.Name, h.Info.Name)
		for _, i := range h.Env.Instances {
			fmt.Fprintf(&b, "\ttakes %s: %v %v\n", i.Name, i.Value, i.Dimensions)
		}
	}
	for _, s := range p.HandlerStatus {
		fmt.Fprintf(&b, "status handler %s: %v\n", s.Name, s.Err)
	}
	for _, s := range p.RuleStatus {
		fmt.Fprintf(&b, "status rule %s: %v\n", s.Name, s.Err)
	}
	for _, s := range p.Problems {
		fmt.Fprintf(&b, "problem %s\n", s)
	}
	return b.String()
}

func concerns(p *Plan, destinations []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(destinations)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		for i := range f {
			f[i] = strings.TrimPrefix(f[i], "-")
		}
		fmt.Fprintf(&b, "to %s:", strings.TrimSpace(line))
		for _, r := range p.Concerning(Destination{Service: f[0], Namespace: f[1], Protocol: f[2]}) {
			fmt.Fprint(&b, " ", r.Name)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestKeySaysWhetherAHandlerChanged(t *testing.T) {
	t.Parallel()
	const docs = `
{apiVersion: outrigger.dev/v1, kind: Handler, metadata: {name: h}, spec: {adapter: stdio, params: {outputAsJson: true}}}
---
{apiVersion: outrigger.dev/v1, kind: Instance, metadata: {name: i}, spec: {template: metric, params: {value: "1"}}}
---
{apiVersion: outrigger.dev/v1, kind: Rule, metadata: {name: r}, spec: {match: "true", actions: [{handler: h, instances: [i]}]}}
`
	key := func(text string) string {
		t.Helper()
		a := &txtar.Archive{Files: []txtar.File{{Name: "objects.yaml", Data: []byte(text)}}}
		p := Build(Input{Objects: documents(t, "x", a), Adapters: infos()})
		if len(p.Handlers) != 1 {
			t.Fatalf("%d handlers: %s", len(p.Handlers), describe(p))
		}
		return p.Handlers[0].Key
	}
	base := key(docs)
	for change, c := range map[string]struct {
		from, to string
		same     bool
	}{
		"nothing":        {"", "", true},
		"the rule":       {`match: "true"`, `match: source.name == "x"`, true},
		"the value":      {`value: "1"`, `value: "2"`, true},
		"the params":     {"outputAsJson: true", "outputAsJson: false", false},
		"the value type": {`value: "1"`, `value: "1.5"`, false},
		"a dimension":    {`value: "1"`, `value: "1", dimensions: {a: source.name}`, false},
	} {
		if got := key(strings.Replace(docs, c.from, c.to, 1)) == base; got != c.same {
			t.Errorf("after a change of %s: same key %v, want %v", change, got, c.same)
		}
	}
}

func TestBadObjectsNeverPanic(t *testing.T) {
	t.Parallel()
	p := Build(Input{Objects: []*configv1.Object{
		nil, {}, {Spec: &configv1.Object_Rule{}}, {Spec: &configv1.Object_Handler{}}, {Spec: &configv1.Object_Instance{}},
		{Spec: &configv1.Object_AttributeManifest{}},
		{Metadata: &configv1.Metadata{Name: "r"}, Spec: &configv1.Object_Rule{Rule: &configv1.Rule{Actions: []*configv1.Rule_Action{nil, {}}}}},
	}, Adapters: infos()})
	if len(p.Rules) != 0 {
		t.Errorf("%d rules act", len(p.Rules))
	}
	for _, s := range p.RuleStatus {
		if s.Err == nil {
			t.Errorf("rule %q: no error, want one", s.Name)
		}
	}
}
