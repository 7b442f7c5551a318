package stdio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// stamp is ISO 8601 with milliseconds.
const stamp = "2006-01-02T15:04:05.000Z0700"

type line struct {
	level    configv1.StdioParams_Level
	at       time.Time
	instance string
	values   map[string]any
}

func (l line) levelName() string {
	switch l.level {
	case configv1.StdioParams_WARNING:
		return "warn"
	case configv1.StdioParams_ERROR:
		return "error"
	}
	return "info"
}

// json writes level, ts and instance and then the values, sorted by name.
func (l line) json() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	pair(&b, "level", l.levelName())
	b.WriteByte(',')
	pair(&b, "ts", l.at.UTC().Format(stamp))
	b.WriteByte(',')
	pair(&b, "instance", l.instance)
	for _, k := range slices.Sorted(maps.Keys(l.values)) {
		b.WriteByte(',')
		pair(&b, k, plain(l.values[k]))
	}
	b.WriteString("}\n")
	return b.Bytes()
}

func pair(b *bytes.Buffer, k string, v any) {
	encoded(b, k)
	b.WriteByte(':')
	encoded(b, v)
}

func encoded(b *bytes.Buffer, v any) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		// Only a double that JSON has no text for comes here.
		_ = e.Encode(fmt.Sprint(v))
	}
	b.Truncate(b.Len() - 1) // Encode ends with a newline
}

// plain turns a value into what JSON shows well.
func plain(v any) any {
	switch v := v.(type) {
	case time.Duration:
		return v.String()
	case time.Time:
		return v.UTC().Format(stamp)
	case netip.Addr:
		return v.String()
	}
	return v
}

func (l line) plain() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\t%s\t%s", l.at.UTC().Format(stamp), l.levelName(), l.instance)
	for _, k := range slices.Sorted(maps.Keys(l.values)) {
		fmt.Fprintf(&b, "\t%s=", k)
		encoded(&b, plain(l.values[k]))
	}
	b.WriteByte('\n')
	return b.Bytes()
}
