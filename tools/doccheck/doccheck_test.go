package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sample = `# A title
See ` + "`tools/here.go`" + ` and [below](#the-2nd-part).

` + "```console" + `
$ one
$ two -x   # exit 4
out …

last
$ three \
> --more  # exit 3
$ four # exit 1, within 5s
` + "```" + `

## The 2nd part

` + "```sh" + `
$ not run
` + "```" + `
`

func TestParse(t *testing.T) {
	d, err := parse("x.md", sample)
	if err != nil {
		t.Fatal(err)
	}
	want := []step{
		{line: 5, command: "one"},
		{line: 6, command: "two -x   # exit 4", want: []string{"out …", "last"}, exit: 4},
		{line: 10, command: "three \\\n--more  # exit 3", exit: 3},
		{line: 12, command: "four # exit 1, within 5s", exit: 1, within: 5 * time.Second},
	}
	if diff := cmp.Diff(want, d.steps, cmp.AllowUnexported(step{})); diff != "" {
		t.Errorf("steps (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"a-title": true, "the-2nd-part": true}, d.headings); diff != "" {
		t.Errorf("headings (-want +got)\n%s", diff)
	}
}

func TestParseRefusesBlocksThatAreNone(t *testing.T) {
	for name, text := range map[string]string{
		"not closed":   fence + "console\n$ a",
		"output first": fence + "console\nout\n$ a\n" + fence,
		"no time":      fence + "console\n$ a # within 5x\n" + fence,
	} {
		if _, err := parse("x.md", text); err == nil || !strings.HasPrefix(err.Error(), "x.md:") {
			t.Errorf("%s: got error %v, want one with a line", name, err)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		want, got string
		match     bool
	}{
		{"a b", "a   b", true},
		{"a", "a\n\n", true},
		{"a", "a\nb", false},
		{"a\nb", "a", false},
		{"a … c", "a bb c", true},
		{"a … c", "a bb d", false},
		{"…\nc", "a\nb\nc", true},
		{"…\nc", "c", true},
		{"a\n…", "a", true},
		{"a\n…\nc", "a\nb", false},
		{"1.0", "1x0", false},
		{`{"a":1,"b":2}`, `{"a": 1, "b": 2}`, true},
	} {
		if got := matches(plain(strings.Split(c.want, "\n")), plain(strings.Split(c.got, "\n"))); got != c.match {
			t.Errorf("%q shown, %q printed: %v, want %v", c.want, c.got, got, c.match)
		}
	}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		s    step
		text string
		code int
		ok   bool
	}{
		"anything":        {s: step{}, text: "x", ok: true},
		"the wrong code":  {s: step{exit: 4}, text: "x"},
		"the right code":  {s: step{exit: 4}, code: 4, ok: true},
		"the wrong lines": {s: step{want: []string{"a"}}, text: "b"},
	} {
		if err := c.s.judge(c.text, c.code); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want right: %v", name, err, c.ok)
		}
	}
}

func TestLookUp(t *testing.T) {
	root := t.TempDir()
	write(t, root, "tools/here.go", "")
	write(t, root, "docs/internal/mine.go", "")
	write(t, root, "docs/other.md", "# One two\n")
	for text, want := range map[string]string{
		"`tools/here.go`":              "",
		"`tools/*.go`":                 "",
		"`internal/mine.go`":           "",
		"`tools/gone.go`":              "docs/x.md:1: there is no tools/gone.go",
		"`tools/gone.go --flag`":       "",
		"[a](other.md#one-two)":        "",
		"[a](other.md#three)":          "docs/x.md:1: there is no heading #three in docs/other.md",
		"[a](../tools/)":               "",
		"[a](../gone.md)":              "docs/x.md:1: there is no gone.md",
		"[a](#gone)":                   "docs/x.md:1: there is no heading #gone",
		"[a](https://example.org/x#y)": "",
	} {
		d, err := parse("docs/x.md", text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := lookUp(root, d); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// outrigger stands in for the command: up is ready at once, apply leaves an object
// behind until it is deleted, and port prints the address it was given.
const outrigger = `#!/bin/sh
case $1 in
up)
	mkdir -p .outrigger/run
	echo '{"published":{"ingress":"127.0.0.1:41234"}}' > .outrigger/run/fleet.json
	echo ready in 0.1s
	sleep 60 >/dev/null 2>&1 &
	trap "kill $!; exit 0" TERM
	wait ;;
apply) echo RouteRule default/r created; touch .outrigger/applied ;;
delete) rm .outrigger/applied ;;
get)
	echo KIND NAMESPACE NAME REVISION ORIGIN WHAT
	echo Service default s 4 file:s.yaml http
	if [ -e .outrigger/applied ]; then echo RouteRule default r 5 api s: v1; fi ;;
port) echo "$2" | tee .outrigger/port ;;
*) exit 4 ;;
esac
`

func repository(t *testing.T, doc string) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, "bin/outrigger", outrigger)
	write(t, root, fleetFile, "publish:\n  - {name: ingress, port: 8080, to: \"10.77.0.1:8080\"}\n")
	write(t, root, "README.md", fence+"console\n"+doc+"\n"+fence+"\n")
	return root
}

func TestRun(t *testing.T) {
	for name, c := range map[string]struct{ doc, want string }{
		"as shown": {doc: "$ bin/outrigger apply\nRouteRule … created\n$ bin/outrigger delete\n$ bin/outrigger x # exit 4"},
		"the usual ports": {doc: "$ bin/outrigger port 127.0.0.1:8080\n127.0.0.1:8080\n" +
			"$ [ $(cat .outrigger/port | cut -d: -f2) = 41234 ]"},
		"after a while": {doc: "$ (until [ -e .outrigger/port ]; do :; done; sleep 0.3; touch .outrigger/there) >&- 2>&- &\n" +
			"$ bin/outrigger port x\n$ ls .outrigger/there # within 20s\n.outrigger/there"},
		"not as shown": {doc: "$ bin/outrigger apply\nsomething else", want: "README.md:2: $ bin/outrigger apply"},
		"not taken back": {doc: "$ bin/outrigger apply",
			want: `README.md: leaves behind ["RouteRule/default/r"]`},
		"the wrong code": {doc: "$ bin/outrigger x", want: "exit code 4, want 0"},
	} {
		t.Run(name, func(t *testing.T) {
			root := repository(t, c.doc)
			var out strings.Builder
			err := check(t.Context(), root, nil, false, &out)
			if c.want == "" && (err != nil || !strings.Contains(out.String(), "ok")) {
				t.Errorf("got error %v and %q, want none and ok", err, out.String())
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(root, stateFolder)); err == nil {
				t.Error("the repository has a state folder now")
			}
		})
	}
}

func TestMeshThatDoesNotStart(t *testing.T) {
	root := repository(t, "$ true")
	write(t, root, "bin/outrigger", "#!/bin/sh\necho outrigger: no Envoy >&2\nexit 1\n")
	err := check(t.Context(), root, nil, false, new(strings.Builder))
	if err == nil || !strings.Contains(err.Error(), "outrigger: no Envoy") {
		t.Errorf("got %v, want what the mesh said", err)
	}
}
