package figure_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/figure"
)

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[len(hundred)-1-i] = float64(i + 1)
	}
	for _, c := range []struct {
		name    string
		numbers []float64
		p, want float64
	}{
		{"nothing", nil, 50, 0},
		{"one", []float64{7}, 99, 7},
		{"the middle of five", []float64{5, 1, 4, 2, 3}, 50, 3},
		{"between two", []float64{4, 1, 3, 2}, 50, 2.5},
		{"99 of 100", hundred, 99, 99},
		{"all of 100", hundred, 100, 100},
		{"99 of 50 is the last", hundred[:50], 99, 100},
	} {
		if got := figure.Quantile(c.numbers, c.p); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

var rows = []figure.Row{
	{Goal: "as fast as bare Envoys", Unit: figure.Microseconds, Measured: []float64{104.4, 210, 315}, Baseline: []float64{100, 200, 300}, Target: figure.Target{MostRatio: 1.05}},
	{Goal: "too slow", Unit: figure.Microseconds, Measured: []float64{106, 212}, Baseline: []float64{100, 200}, Target: figure.Target{MostRatio: 1.05}},
	{Goal: "small", Unit: figure.Megabytes, Measured: []float64{6.5, 6.25, 6.75}, Target: figure.Target{Most: 7}, Each: true},
	{Goal: "one is too large", Unit: figure.Megabytes, Measured: []float64{6.5, 6.25, 7.5}, Target: figure.Target{Most: 7}, Each: true},
	{Goal: "large", Unit: figure.Megabytes, Measured: []float64{7.01}, Target: figure.Target{Most: 7}},
	{Goal: "on a busy machine", Unit: figure.Seconds, Measured: []float64{1}, Target: figure.Target{Most: 7}, Doubt: "busy"},
	{Goal: "the same", Unit: figure.Seconds, Measured: []float64{9}, Target: figure.Target{Most: 7}, Doubt: "busy"},
	{Goal: "for information", Unit: figure.Seconds, Measured: []float64{12.25, 0.5, 1234567.5}},
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	if err := figure.Write(&out, rows); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		if width := utf8.RuneCountInString(line); width > figure.Width {
			t.Errorf("%d characters wide, want at most %d: %s", width, figure.Width, line)
		}
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"goal runs measured min–max baseline ratio target met",
		strings.Repeat("─", figure.Width),
		"as fast as bare Envoys 3 210 µs 104–315 200 1.05 1.04–1.05 ≤ 1.05× yes",
		"too slow 2 159 µs 106–212 150 1.06 1.06–1.06 ≤ 1.05× no",
		"small ×3 6.50 MB 6.25–6.75 – – ≤ 7 yes",
		"one is too large ×3 6.50 MB 6.25–7.50 – – ≤ 7 no",
		"large 1 7.01 MB 7.01–7.01 – – ≤ 7 no",
		"on a busy machine 1 1.00 s 1.00–1.00 – – ≤ 7 ?",
		"the same 1 9.00 s 9.00–9.00 – – ≤ 7 ?",
		"for information 3 12.2 s 0.50–1.23e+06 – – – –",
		"? busy",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := figure.WriteJSON(&out, rows[:1]); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"rows": []any{map[string]any{
		"goal": "as fast as bare Envoys", "unit": "µs", "numbers": []any{104.4, 210.0, 315.0},
		"measured":        map[string]any{"median": 210.0, "min": 104.4, "max": 315.0},
		"baselineNumbers": []any{100.0, 200.0, 300.0},
		"baseline":        map[string]any{"median": 200.0, "min": 100.0, "max": 300.0},
		"ratio":           map[string]any{"median": 1.05, "min": 1.044, "max": 1.05},
		"targetRatio":     1.05, "met": true,
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}
