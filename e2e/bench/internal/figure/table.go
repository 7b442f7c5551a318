package figure

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Widths of the columns; with the gaps between them 100.
const (
	goalWidth, countWidth, measuredWidth, spreadWidth = 32, 4, 9, 13
	baselineWidth, ratioWidth, targetWidth, metWidth  = 8, 15, 8, 3
)

// Width of the table, in characters.
const Width = 100

// Write prints rows as a table.
func Write(out io.Writer, rows []Row) error {
	var text strings.Builder
	line(&text, "goal", "runs", "measured", "min–max", "baseline", "ratio", "target", "met")
	fmt.Fprintln(&text, strings.Repeat("─", Width))
	for _, r := range rows {
		measured := SpreadOf(r.Measured)
		count := strconv.Itoa(len(r.Measured))
		if r.Each {
			count = "×" + count
		}
		line(&text, r.Goal, count, amount(measured.Median)+" "+string(r.Unit), span(measured, amount),
			r.baseline(), r.ratio(), r.target(), r.verdict())
	}
	for _, doubt := range doubts(rows) {
		fmt.Fprintln(&text, "? "+doubt)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// doubts lists each reason once.
func doubts(rows []Row) []string {
	var all []string
	for _, r := range rows {
		if r.Doubt != "" && !slices.Contains(all, r.Doubt) {
			all = append(all, r.Doubt)
		}
	}
	return all
}

func line(out *strings.Builder, goal, count, measured, spread, baseline, ratio, target, met string) {
	cells := []string{
		right(goal, -goalWidth), right(count, countWidth), right(measured, measuredWidth), right(spread, spreadWidth),
		right(baseline, baselineWidth), right(ratio, ratioWidth), right(target, targetWidth), right(met, metWidth),
	}
	fmt.Fprintln(out, strings.TrimRight(strings.Join(cells, " "), " "))
}

// right pads text on the left to a width, or on the right if that is negative.
func right(text string, width int) string {
	gap := strings.Repeat(" ", max(0, max(width, -width)-utf8.RuneCountInString(text)))
	if width < 0 {
		return text + gap
	}
	return gap + text
}

// amount prints three digits, or all that stand before the point of what is not huge.
func amount(v float64) string {
	switch {
	case v >= 1e5:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
}

func hundredths(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

func span(s Spread, number func(float64) string) string {
	return number(s.Least) + "–" + number(s.Most)
}

const none = "–"

func (r Row) baseline() string {
	if len(r.Baseline) == 0 {
		return none
	}
	return amount(SpreadOf(r.Baseline).Median)
}

func (r Row) ratio() string {
	ratios := r.Ratios()
	if ratios == nil {
		return none
	}
	s := SpreadOf(ratios)
	return hundredths(s.Median) + " " + span(s, hundredths)
}

func (r Row) target() string {
	switch {
	case r.Target.MostRatio > 0:
		return "≤ " + hundredths(r.Target.MostRatio) + "×"
	case r.Target.Most > 0:
		return "≤ " + strconv.FormatFloat(r.Target.Most, 'g', -1, 64)
	default:
		return none
	}
}

func (r Row) verdict() string {
	switch met, known := r.Met(); {
	case r.Doubt != "":
		return "?"
	case !known:
		return none
	case met:
		return "yes"
	default:
		return "no"
	}
}

// WriteJSON prints rows with every number.
func WriteJSON(out io.Writer, rows []Row) error {
	documents := make([]map[string]any, 0, len(rows))
	for _, r := range rows {
		d := map[string]any{"goal": r.Goal, "unit": r.Unit, "measured": SpreadOf(r.Measured), "numbers": r.Measured}
		if ratios := r.Ratios(); ratios != nil {
			d["baseline"], d["baselineNumbers"], d["ratio"] = SpreadOf(r.Baseline), r.Baseline, SpreadOf(ratios)
		}
		if r.Target.Most > 0 {
			d["target"] = r.Target.Most
		}
		if r.Target.MostRatio > 0 {
			d["targetRatio"] = r.Target.MostRatio
		}
		if r.Doubt != "" {
			d["doubt"] = r.Doubt
		}
		if met, known := r.Met(); known {
			d["met"] = met
		}
		documents = append(documents, d)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(map[string]any{"rows": documents})
}
