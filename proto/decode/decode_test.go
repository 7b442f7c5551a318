package decode

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
	"google.golang.org/protobuf/testing/protocmp"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

var update = flag.Bool("update", false, "rewrite the wanted parts of testdata")

// show writes problems as the command line does.
func show(problems []*pilotv1.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s:%d:%d: [%s] %s: %s\n", p.File, p.Line, p.Column, p.Object, p.Field, p.Message)
	}
	return b.String()
}

// TestDocuments compares, for each txtar file, what each of its parts named in* gives:
// a part named want-<in> holds the problems, or else the documents encoded.
func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file, ar)
		})
	}
}

func golden(t *testing.T, file string, ar *txtar.Archive) {
	t.Helper()
	want := map[string]string{}
	var fresh []txtar.File
	for _, f := range ar.Files {
		want[f.Name] = string(f.Data)
	}
	for _, f := range ar.Files {
		if strings.HasPrefix(f.Name, "want-") {
			continue
		}
		got := outcome(t, f.Name, f.Data)
		fresh = append(fresh, f, txtar.File{Name: "want-" + f.Name, Data: []byte(got)})
		if d := cmp.Diff(want["want-"+f.Name], got); d != "" && !*update {
			t.Errorf("%s (-want +got):\n%s", f.Name, d)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(&txtar.Archive{Comment: ar.Comment, Files: fresh}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func outcome(t *testing.T, name string, data []byte) string {
	t.Helper()
	docs, problems := Documents(name, data, "")
	if len(problems) > 0 {
		return show(problems)
	}
	listed(t, docs)
	var b strings.Builder
	for _, d := range docs {
		text, err := Encode(d.Object)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fmt.Fprintf(&b, "# %s, line %d\n%s", d.Label(), d.Line, text)
		again(t, d.Object, text)
	}
	return b.String()
}

// listed wants the same objects from a List of all of them.
func listed(t *testing.T, docs []Decoded) {
	t.Helper()
	var objects []*configv1.Object
	for _, d := range docs {
		objects = append(objects, d.Object)
	}
	text, err := EncodeListJSON(objects)
	if err != nil {
		t.Fatal(err)
	}
	back, problems := Documents("list", text, "elsewhere")
	if len(problems) > 0 || len(back) != len(docs) {
		t.Fatalf("a List: %d objects, want %d, problems:\n%s%s", len(back), len(docs), show(problems), text)
	}
	for i, d := range back {
		if one, two := encoded(t, docs[i].Object), encoded(t, d.Object); !strings.HasSuffix(one, two) {
			t.Fatalf("item %d of the List: got\n%s\nwant\n%s", i, two, one)
		}
	}
}

// encoded is an object as YAML, a comment on its origin perhaps before it.
func encoded(t *testing.T, o *configv1.Object) string {
	t.Helper()
	text, err := Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// again decodes what was encoded and wants the same object.
func again(t *testing.T, o *configv1.Object, text []byte) {
	t.Helper()
	docs, problems := Documents("encoded", text, "elsewhere")
	if len(problems) > 0 || len(docs) != 1 {
		t.Fatalf("encoded document: %d objects, problems:\n%s%s", len(docs), show(problems), text)
	}
	want := proto.CloneOf(o)
	want.ApiVersion, want.Metadata.Origin = "", ""
	docs[0].Object.ApiVersion = ""
	if d := cmp.Diff(want, docs[0].Object, protocmp.Transform()); d != "" {
		t.Fatalf("decoding the encoded document (-first +again):\n%s\n%s", d, text)
	}
	asJSON, err := EncodeJSON(o)
	if err != nil {
		t.Fatal(err)
	}
	docs, problems = Documents("encoded", asJSON, "elsewhere")
	if len(problems) > 0 || len(docs) != 1 {
		t.Fatalf("encoded JSON: %d objects, problems:\n%s%s", len(docs), show(problems), asJSON)
	}
	docs[0].Object.ApiVersion = ""
	if d := cmp.Diff(want, docs[0].Object, protocmp.Transform()); d != "" {
		t.Fatalf("decoding the encoded JSON (-first +again):\n%s\n%s", d, asJSON)
	}
}

// TestRefusedBytes are inputs that no text file holds.
func TestRefusedBytes(t *testing.T) {
	rule := "apiVersion: outrigger.dev/v1\nkind: Rule\nmetadata: {name: a}\n"
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 {k: v}\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&laughs, "a%d: &a%d {x: *a%d, y: *a%d}\n", i, i, i-1, i-1)
	}
	for name, c := range map[string]struct{ in, want string }{
		"a large binary": {"\x7fELF\n\x00" + strings.Repeat("x", 10<<20), "f:2:1: [] : not text: found a zero byte; documents are YAML or JSON in UTF-8\n"},
		"ten megabytes":  {strings.Repeat("x", 10<<20), "f:1:0: [] : the file has 10.0 MiB; at most 4.0 MiB are taken, which end on this line: split it before\n"},
		"more lines":     {strings.Repeat("x: yyyyy\n", 1<<20), "f:466034:0: [] : the file has 9.0 MiB; at most 4.0 MiB are taken, which end on this line: split it before\n"},
		"zero byte":      {rule + "a\x00b", "f:4:2: [] : not text: found a zero byte; documents are YAML or JSON in UTF-8\n"},
		"ELF":            {"\x7fELF\x02\x01\x01\x00\xff", "f:1:8: [] : not text: found a zero byte; documents are YAML or JSON in UTF-8\n"},
		"latin 1":        {"a: caf\xe9", "f:1:7: [] : not text: found the byte 0xe9, which is not UTF-8; documents are YAML or JSON in UTF-8\n"},
		"control":        {"a: \x07", "f:1:4: [] : not text: found the control character U+0007; documents are YAML or JSON in UTF-8\n"},
		"C1 control":     {"a: 1\nb: \u009b1m", "f:2:4: [] : not text: found the control character U+009B; documents are YAML or JSON in UTF-8\n"},
		"bidi key":       {rule + "\"sp\u202eec\": 1", "f:4:1: [] \"sp\\u202eec\": unknown field; a document has apiVersion, kind, metadata and spec\n"},
		"deep at once":   {strings.Repeat("[", 20000), "f:1:0: [] : nested more than 64 levels deep\n"},
		"deep list":      {strings.Repeat("- ", 20000) + "x", "f:1:0: [] : nested more than 64 levels deep\n"},
		"deep JSON": {"{\"apiVersion\":\n" + strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20001),
			"f:2:321: [] : not JSON: nested more than 64 levels deep\n"},
		"text after JSON": {"{\"apiVersion\": \"outrigger.dev/v1\",\n \"kind\": \"Rule\"}\n trailing text",
			"f:3:2: [] : not JSON: text after the end of the document: take it out, or put it into a file of its own\n"},
		"bracket after JSON": {"{\"kind\": \"Rule\"}}",
			"f:1:17: [] : not JSON: text after the end of the document: take it out, or put it into a file of its own\n"},
		"half of JSON": {"{\"kind\":\n \"Rule\"", "f:2:8: [] : not JSON: the file ends in the middle of the document: a bracket or a quote is missing\n"},
		"no metadata":  {"spec: {}", "f:1:1: [] metadata: missing; every object has metadata: {name: NAME}\n"},
		"anchor":       {"kind: Rule\nspec: *x", "f:2:7: [] : not YAML or JSON: unknown anchor 'x' referenced\n"},
		"enum": {"apiVersion: outrigger.dev/v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{protocol: FTP}]}",
			"spec.ports[0].protocol: want one of HTTP, HTTP2, GRPC, HTTPS, TCP, got"},
		"deep": {rule + "spec: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
			"f:4:7: [Rule default/a] spec: want a mapping, got a list\n"},
		"deeper": {rule + "spec: " + strings.Repeat("[", 20000), "f:4:0: [] : nested more than 64 levels deep\n"},
		"itself": {"apiVersion: outrigger.dev/v1\nkind: RouteRule\nmetadata: &a {name: a, labels: *a}\nspec: {}",
			"f:3:11: [RouteRule default/a] metadata.labels[labels]: want text, got a mapping\n"},
		"laughs": {laughs.String(), "f:1:1: [] a0: unknown field; a document has apiVersion, kind, metadata and spec\n"},
		"merge": {"apiVersion: outrigger.dev/v1\nkind: Rule\nmetadata: {name: a, labels: {<<: {a: b}}}\n",
			"f:3:30: [Rule default/a] metadata.labels: merge keys (<<) are not taken; write the fields out\n"},
		"many mistakes": {rule + "spec:\n" + strings.Repeat("  x: 1\n", 200),
			"f:0:0: [] : and 100 more mistakes in this file\n"},
	} {
		_, problems := Documents("f", []byte(c.in), "")
		if got := show(problems); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q in it", name, got, c.want)
		}
	}
}

// TestAliasesCountAsOftenAsTheyAreUsed expands nothing without bound.
func TestAliasesCountAsOftenAsTheyAreUsed(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("apiVersion: outrigger.dev/v1\nkind: Service\nmetadata: {name: a}\nspec:\n")
	b.WriteString("  ingress:\n  - &i {paths: &p [{exact: /}")
	b.WriteString(strings.Repeat(", {exact: /}", 2000) + "]}\n")
	b.WriteString(strings.Repeat("  - *i\n", 2000))
	_, problems := Documents("f", b.Bytes(), "")
	if got := show(problems); !strings.Contains(got, "more than 1000000 values") {
		t.Errorf("got %q, want a refusal", got)
	}
}

func TestProblemFindsThePosition(t *testing.T) {
	docs, problems := Documents("f.yaml", []byte(`apiVersion: config.istio.io/v1alpha2
kind: denier
metadata:
  name: d
spec:
  status:
    code: 7
---
apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: r}
spec:
  route:
  - labels: {version: v1}
    weight: 30
`), "shop")
	if len(problems) > 0 {
		t.Fatal(show(problems))
	}
	got := show([]*pilotv1.Problem{
		docs[0].Problem("spec.params.status.code", "x"),
		docs[0].Problem("spec.params", "x"),
		docs[0].Problem("spec.adapter", "x"),
		docs[1].Problem("spec.route[0].weight", "x"),
		docs[1].Problem("spec.route[0].destination.name", "x"),
		docs[1].Problem("spec.mirror", "x"),
		docs[1].Problem("", "x"),
	})
	want := `f.yaml:7:11: [denier shop/d] spec.status.code: x
f.yaml:5:1: [denier shop/d] spec: x
f.yaml:2:1: [denier shop/d] kind: x
f.yaml:15:13: [RouteRule shop/r] spec.route[0].weight: x
f.yaml:14:5: [RouteRule shop/r] spec.route[0].destination.name: x
f.yaml:12:1: [RouteRule shop/r] spec.mirror: x
f.yaml:9:1: [RouteRule shop/r] : x
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestKind(t *testing.T) {
	for word, want := range map[string]string{
		"routerule": "RouteRule", "RouteRules": "RouteRule", "destinationpolicies": "DestinationPolicy",
		"rules": "Rule", "denier": "Handler .denier", "listentries": "Instance .listentry",
		"SERVICES": "Service", "route-rule": "none", "": "none",
	} {
		kind, suffix, ok := Kind(word)
		got := strings.TrimSpace(kind + " " + suffix)
		if !ok {
			got = "none"
		}
		if got != want {
			t.Errorf("Kind(%q) = %q, want %q", word, got, want)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range ar.Files {
			f.Add(part.Data)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		docs, problems := Documents("fuzz", in, "")
		if len(problems) > 0 {
			return
		}
		for _, d := range docs {
			text, err := Encode(d.Object)
			if err != nil {
				t.Fatal(err)
			}
			again(t, d.Object, text)
		}
	})
}
