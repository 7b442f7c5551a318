// Package figure holds what was measured and says what it means: medians, spreads,
// ratios to a baseline, goals met or not. In: numbers. Out: numbers, a table, JSON. It
// measures nothing.
package figure

import (
	"math"
	"slices"
)

// Unit is what the numbers of a row count.
type Unit string

// The units.
const (
	Microseconds Unit = "µs"
	Milliseconds Unit = "ms"
	Seconds      Unit = "s"
	Megabytes    Unit = "MB" // of 1,000,000 bytes
)

// Row is one goal: a number from each run, and from the same runs the number that it is
// compared with.
type Row struct {
	Goal     string
	Unit     Unit
	Measured []float64
	// Baseline has as many numbers as Measured, or none.
	Baseline []float64
	Target   Target
	// Each says that the numbers are of single processes in one run, not of runs.
	Each bool
	// Doubt says why the numbers do not show what they should, empty if they do. Then
	// nobody can tell whether the target is met.
	Doubt string
}

// Target is an upper bound; the zero value is none.
type Target struct {
	// Most is what the median may be, or every one if the row is of Each, in the row's
	// unit.
	Most float64
	// MostRatio is what the median of the ratios to the baseline may be.
	MostRatio float64
}

// Spread is the middle of some numbers and how far they go.
type Spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"min"`
	Most   float64 `json:"max"`
}

// SpreadOf returns the spread of numbers; of none, zeros.
func SpreadOf(numbers []float64) Spread {
	if len(numbers) == 0 {
		return Spread{}
	}
	return Spread{Median: Quantile(numbers, 50), Least: slices.Min(numbers), Most: slices.Max(numbers)}
}

// Quantile returns the number that p of 100 do not exceed, the median of an even count
// being the mean of the two in the middle.
func Quantile(numbers []float64, p float64) float64 {
	if len(numbers) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(numbers))
	if n := len(sorted); p == 50 && n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	rank := int(math.Ceil(float64(len(sorted)) * p / 100))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Ratios divides each measured number by the baseline of the same run; nil without one.
func (r Row) Ratios() []float64 {
	if len(r.Baseline) == 0 || len(r.Baseline) != len(r.Measured) {
		return nil
	}
	ratios := make([]float64, len(r.Measured))
	for i, measured := range r.Measured {
		ratios[i] = measured / r.Baseline[i]
	}
	return ratios
}

// Met says whether the target is reached, judged on what the table shows; known is false
// where there is no target, or doubt.
func (r Row) Met() (met, known bool) {
	switch {
	case r.Doubt != "":
		return false, false
	case r.Target.MostRatio > 0 && r.Ratios() != nil:
		return round(SpreadOf(r.Ratios()).Median, 2) <= r.Target.MostRatio, true
	case r.Target.Most > 0 && r.Each:
		return SpreadOf(r.Measured).Most <= r.Target.Most, true
	case r.Target.Most > 0 && len(r.Measured) > 0:
		return SpreadOf(r.Measured).Median <= r.Target.Most, true
	default:
		return false, false
	}
}

func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}
