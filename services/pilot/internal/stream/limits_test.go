package stream_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/stream"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// numbered are n names from the first on.
func numbered(first, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("c", first+i)
	}
	return out
}

func versions(names []string, version string) map[string]string {
	out := map[string]string{}
	for _, n := range names {
		out[n] = version
	}
	return out
}

// exhausted fails if err does not say that a limit, and which number, was reached.
func exhausted(t *testing.T, what string, err error, number string) {
	t.Helper()
	if fault.Of(err) != fault.Exhausted || !strings.Contains(fmt.Sprint(err), number) {
		t.Errorf("%s: got %v (%v), want exhausted, with %q", what, err, fault.Of(err), number)
	}
}

func TestSotW(t *testing.T) {
	type ask struct {
		names []string
		want  stream.Request
	}
	e, c := translate.Endpoint, translate.Cluster
	for name, asks := range map[string][]ask{
		"all clusters":   {{nil, stream.Request{Type: c, Wildcard: true}}, {nil, stream.Request{Type: c, Wildcard: true}}},
		"no endpoints":   {{nil, stream.Request{Type: e}}},
		"one after one":  {{[]string{"a"}, stream.Request{Type: e, Subscribe: []string{"a"}}}, {[]string{"a", "b"}, stream.Request{Type: e, Subscribe: []string{"b"}}}},
		"the same again": {{[]string{"b", "a"}, stream.Request{Type: e, Subscribe: []string{"b", "a"}}}, {[]string{"a", "b"}, stream.Request{Type: e}}},
		"fewer":          {{[]string{"b", "a", "c"}, stream.Request{Type: e, Subscribe: []string{"b", "a", "c"}}}, {[]string{"c"}, stream.Request{Type: e, Unsubscribe: []string{"a", "b"}}}},
		"one name twice": {{[]string{"a", "a"}, stream.Request{Type: e, Subscribe: []string{"a"}}}},
		"as many as may be": {
			{numbered(0, stream.MaxNames), stream.Request{Type: e, Subscribe: numbered(0, stream.MaxNames)}},
			{numbered(0, stream.MaxNames), stream.Request{Type: e}},
		},
	} {
		var s stream.SotW
		for i, a := range asks {
			got, err := s.Request(a.want.Type, "", "", a.names)
			if d := cmp.Diff(a.want, got); d != "" || err != nil {
				t.Errorf("%s: request %d: %v (-want +got)\n%s", name, i+1, err, d)
			}
		}
	}
	var s stream.SotW
	_, err := s.Request(e, "", "", numbered(0, 100_000))
	exhausted(t, "100,000 names", err, "100000")
}

func TestLimits(t *testing.T) {
	half, long := stream.MaxNames/2, strings.Repeat("x", stream.MaxName+1)
	for name, c := range map[string]struct {
		requests []stream.Request // the last one is refused
		number   string
	}{
		"names at once": {[]stream.Request{{Subscribe: numbered(0, 100_000)}}, "100000"},
		"names little by little": {[]stream.Request{
			{Subscribe: numbered(0, half)}, {Subscribe: numbered(0, half)}, {Subscribe: numbered(half, half)}, {Subscribe: []string{"x"}},
		}, fmt.Sprint(stream.MaxNames + 1)},
		"versions":                 {[]stream.Request{{Versions: versions(numbered(0, 100_000), "1")}}, "100000"},
		"a long name":              {[]stream.Request{{Subscribe: []string{"a", long[1:]}}, {Subscribe: []string{"a", long}}}, "1025 bytes"},
		"a long version":           {[]stream.Request{{Versions: versions([]string{"a"}, long)}}, "1025 bytes"},
		"a version of a long name": {[]stream.Request{{Versions: versions([]string{long}, "1")}}, "1025 bytes"},
	} {
		m := stream.New(stream.Config{})
		for i, r := range c.requests {
			r.Type = translate.Endpoint
			err := m.Handle(r)
			if i == len(c.requests)-1 {
				exhausted(t, name, err, c.number)
			} else if err != nil {
				t.Fatalf("%s: request %d of %d: %v", name, i+1, len(c.requests), err)
			}
		}
	}
}
