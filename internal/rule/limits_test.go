package rule

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

func TestCompileWant(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expr string
		want Type
		err  string
	}{
		{"", Bool, ""},
		{"", String, "Syntax error"},
		{`source.namespace`, String, ""},
		{`source.namespace`, Bool, "column 1: the expression is of type string, want bool"},
		{`response.code`, Double, "column 1: the expression is of type int64, want double"},
		{strings.Repeat("x", MaxLength+1), Any, "expression has 4097 bytes, at most 4096 are allowed"},
		{"\"\xff\"", Any, "expression is not UTF-8"},
	} {
		_, err := Compile(c.expr, c.want)
		if got := fmt.Sprint(err); (c.err == "") != (err == nil) || c.err != "" && !strings.Contains(got, c.err) {
			t.Errorf("Compile(%.20q, %v): %v, want %q", c.expr, c.want, err, c.err)
		}
	}
}

func TestErrorPositionIsInCharacters(t *testing.T) {
	t.Parallel()
	for _, f := range []func(string) error{
		func(s string) error { _, err := Compile(s, Bool); return err },
		func(s string) error { _, err := Translate02(s); return err },
	} {
		err := f("source.namespace == \"☃☃\" &&\n  sorce.user == \"x\"")
		if want := "line 2, column 3: attribute sorce.user is not known"; fmt.Sprint(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLoopStopsAtItsCost(t *testing.T) {
	t.Parallel()
	p, err := Compile(`request.headers.all(k, k.contains("x"))`, Bool)
	if err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{}
	for i := range 2000 {
		headers[fmt.Sprintf("%d-%s", i, strings.Repeat("x", 9000))] = ""
	}
	if _, err := p.Eval(Map{"request.headers": headers}); err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("a loop over 18 MB of keys: %v, want it stopped by the cost limit", err)
	}
}

func TestManifestsAddAttributes(t *testing.T) {
	t.Parallel()
	manifest := func(name string, v configv1.ValueType) *configv1.AttributeManifest {
		return &configv1.AttributeManifest{Attributes: map[string]*configv1.AttributeManifest_AttributeInfo{name: {ValueType: v}}}
	}
	l, err := New(manifest("shop.cart", configv1.ValueType_STRING_MAP), manifest("shop.total", configv1.ValueType_DOUBLE))
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Compile(`shop.cart["a"] == "b" && shop.total > 1.0`, Bool)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Match(Map{"shop.cart": map[string]string{"a": "b"}, "shop.total": 1.5})
	if err != nil || !got {
		t.Errorf("got %v, %v, want true", got, err)
	}
	if cel, err := l.Translate02(`shop.cart["a"] | "none"`); err != nil || cel != `first(shop.cart["a"], "none")` {
		t.Errorf("translated to %q, %v", cel, err)
	}
	for _, bad := range []*configv1.AttributeManifest{
		manifest("source.ip", configv1.ValueType_STRING),
		manifest("9lives", configv1.ValueType_STRING),
		manifest("shop.other", 99),
	} {
		if _, err := New(bad); err == nil {
			t.Errorf("manifest %v is taken", bad)
		}
	}
}

func TestWrongValueIsAnError(t *testing.T) {
	t.Parallel()
	p, err := Compile(`response.code == 200`, Bool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Match(Map{"response.code": uint8(200)}); err == nil {
		t.Error("a uint8 is taken for an int64")
	}
}

func TestProgramsAreSharedByGoroutines(t *testing.T) {
	t.Parallel()
	p, err := Compile(`source.labels["version"] == "v3" && request.headers.exists(k, k == "a")`, Bool)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				got, err := p.Match(Map{"source.labels": map[string]string{"version": "v3"}, "request.headers": map[string]string{"a": ""}})
				if err != nil || !got {
					t.Errorf("got %v, %v, want true", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkMatch(b *testing.B) {
	p, err := Compile(`destination.labels["app"] == "ratings" && source.labels["app"] == "reviews" && source.labels["version"] == "v3"`, Bool)
	if err != nil {
		b.Fatal(err)
	}
	src := Map{"source.labels": map[string]string{"app": "reviews", "version": "v3"}, "destination.labels": map[string]string{"app": "ratings"}}
	for b.Loop() {
		if _, err := p.Match(src); err != nil {
			b.Fatal(err)
		}
	}
}
