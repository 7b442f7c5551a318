package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// repository is a git repository with one contract and this one's tools and rules.
type repository struct {
	*testing.T
	dir string
}

const contract = `syntax = "proto3";
package outrigger.sample.v1;
message Boat {
  string name = 1;
  int32 floats = 2;
}
`

func newRepository(t *testing.T) repository {
	t.Helper()
	r := repository{t, t.TempDir()}
	ours, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(ours, ".tools"), filepath.Join(r.dir, ".tools")); err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(filepath.Join(ours, "buf.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r.write("buf.yaml", string(rules))
	r.write("proto/outrigger/sample/v1/sample.proto", contract)
	r.git("init", "--quiet")
	r.git("config", "user.name", "test")
	r.git("config", "user.email", "test@example.com")
	r.commit()
	return r
}

func (r repository) write(name, text string) {
	r.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
}

// change replaces a part of the contract and commits.
func (r repository) change(old, fresh string) {
	r.Helper()
	r.write("proto/outrigger/sample/v1/sample.proto", strings.Replace(contract, old, fresh, 1))
	r.commit()
}

func (r repository) commit() {
	r.Helper()
	r.git("add", "proto", "buf.yaml")
	r.git("commit", "--quiet", "--allow-empty", "--message", "change")
}

func (r repository) git(args ...string) {
	r.Helper()
	if _, err := git(r.Context(), r.dir, args...); err != nil {
		r.Fatal(err)
	}
}

func (r repository) check() (string, error) {
	var out bytes.Buffer
	err := check(r.Context(), r.dir, &out)
	return out.String(), err
}

func TestABrokenContractIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ old, fresh, want string }{
		"a field that is gone": {"  int32 floats = 2;\n", "", `field "2" with name "floats" on message "Boat"`},
		"another type":         {"int32 floats", "string floats", `sample.proto:5:3:Field "2" with name "floats" on message "Boat" changed type`},
		"another name":         {"string name", "string title", `"name"`},
		"one more field":       {"}\n", "  int32 masts = 3;\n}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			r.git("tag", "v0.1.0")
			r.change(c.old, c.fresh)
			out, err := r.check()
			if c.want == "" && (err != nil || out != "the contracts break nothing of v0.1.0\n") {
				t.Errorf("got %q, %v; want nothing broken", out, err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %q, %v; want a refusal with %q", out, err, c.want)
			}
		})
	}
}

func TestAChangeDoesNotExcuseItself(t *testing.T) {
	r := newRepository(t)
	r.git("tag", "v0.1.0")
	rules, err := os.ReadFile(filepath.Join(r.dir, "buf.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r.write("buf.yaml", strings.Replace(string(rules), "- FILE\n", "- WIRE\n", 1))
	r.change("string name", "string title")
	if out, err := r.check(); err == nil || !strings.Contains(err.Error(), `"name"`) {
		t.Errorf("got %q, %v; want the rules of the release", out, err)
	}
}

func TestABrokenRESTAPIIsNamed(t *testing.T) {
	const name = "proto/gen/openapi/boat.swagger.json"
	const api = `{"paths": {"/v1/boats": {"get": {"parameters": [{"in": "query", "name": "kind"}]}, "post": {}}}}`
	r := newRepository(t)
	r.write(name, api)
	r.commit()
	r.git("tag", "v0.1.0")
	for fresh, want := range map[string]string{
		`{"paths": {"/v1/boats": {"get": {"parameters": [{"in": "query", "name": "kind"}]}, "post": {}, "put": {}}, "/v1/x": {}}}`: "",
		`{"paths": {"/v1/boats": {"get": {"parameters": [{"in": "query", "name": "type"}]}, "post": {}}}}`:                         "query parameter kind of get /v1/boats is gone",
		`{"paths": {"/v1/boats": {"get": {"parameters": [{"in": "query", "name": "kind"}]}}}}`:                                     "boat.swagger.json: post /v1/boats is gone",
		`{"paths": {}}`: "get /v1/boats is gone",
		`{`:             "unexpected end",
	} {
		r.write(name, fresh)
		_, err := r.check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", fresh, err, want)
		}
	}
}

func TestAShallowCloneHidesNoRelease(t *testing.T) {
	r := newRepository(t)
	r.commit()
	shallow := repository{t, filepath.Join(t.TempDir(), "shallow")}
	r.git("clone", "--quiet", "--depth", "1", "file://"+r.dir, shallow.dir)
	if out, err := shallow.check(); err != nil || out != "no release to compare the contracts with\n" {
		t.Errorf("before the first release: %q, %v", out, err)
	}
	shallow.git("remote", "set-url", "origin", "file://"+r.dir+"-gone")
	if out, err := shallow.check(); err != nil || !strings.Contains(out, "not known") {
		t.Errorf("without its origin: %q, %v; want that it is said", out, err)
	}
	shallow.git("remote", "set-url", "origin", "file://"+r.dir)
	r.git("tag", "v0.1.0", "HEAD~1")
	if out, err := shallow.check(); err == nil || !strings.Contains(err.Error(), "shallow, so v0.1.0") {
		t.Errorf("after it: %q, %v; want a refusal", out, err)
	}
}

func TestTheLastReleaseIsTheHighestOneBefore(t *testing.T) {
	r := newRepository(t)
	if out, err := r.check(); err != nil || out != "no release to compare the contracts with\n" {
		t.Errorf("before the first release: %q, %v", out, err)
	}
	for _, tag := range []string{"v0.9.0", "v0.10.0", "v1.0.0-rc.1", "very-old"} {
		r.git("tag", tag)
	}
	r.change("Boat", "Canoe")
	if _, err := r.check(); err == nil || !strings.Contains(err.Error(), "contracts since v0.10.0") {
		t.Errorf("got %v; want a comparison with v0.10.0", err)
	}
	r.git("tag", "v0.11.0")
	if out, err := r.check(); err != nil || out != "the contracts break nothing of v0.11.0\n" {
		t.Errorf("at the release itself: %q, %v", out, err)
	}
	r.git("checkout", "--quiet", "HEAD~1")
	if out, err := r.check(); err != nil || out != "the contracts break nothing of v0.10.0\n" {
		t.Errorf("before a later release: %q, %v", out, err)
	}
}

func TestATreeWithoutHistoryIsLeftAlone(t *testing.T) {
	var out bytes.Buffer
	if err := check(t.Context(), t.TempDir(), &out); err != nil || out.String() != "no release to compare the contracts with\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
