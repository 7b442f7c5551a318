package cli

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// TestNothingActsOnTheTerminal: what others wrote into documents and messages is shown,
// and neither clears the screen nor turns the text around.
func TestNothingActsOnTheTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"spec.route[0] über 日本": "spec.route[0] über 日本",
		"a\u202eb\u2066c\u2069": `a\u202eb\u2066c\u2069`,
		"\x1b[2J\u009b2J\x07":   `\x1b[2J\u009b2J\a`,
		"two\nlines\ttab":       `two\nlines\ttab`,
		"zero\u200bwidth\ufeff": `zero\u200bwidth\ufeff`,
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q): got %s, want %s", in, got, want)
		}
	}
	var out bytes.Buffer
	printProblems(&out, []*pilotv1.Problem{{File: "a\x1bb.yaml", Line: 3, Field: "spec.\u202ex", Message: "no\nway"}})
	objects := []*configv1.Object{{Kind: "Rule", Metadata: &configv1.Metadata{Namespace: "default", Name: "a", Revision: 7},
		Spec: &configv1.Object_Rule{Rule: &configv1.Rule{Match: "request.path == \"\u202e\u009b\""}}}}
	if err := printObjects(&out, objects, "table", false, false); err != nil {
		t.Fatal(err)
	}
	report(errors.New("the proxy says \x1b[31m\nand more\n\tset\tin"), &out)
	want := `a\x1bb.yaml:3: spec.\u202ex: no\nway
NAME  REVISION  ORIGIN  WHAT
a     7                  if request.path == "\u202e\u009b"
outrigger: the proxy says \x1b[31m
and more
  set\tin
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
