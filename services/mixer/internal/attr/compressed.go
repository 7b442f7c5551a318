package attr

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	istiomixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/istio/mixer/v1"
)

// refusal begins the message of every decoding error. Clients with a newer dictionary
// look for exactly this beginning and fall back to the oldest one.
const refusal = "Request could not be processed due to invalid "

// Decode reads a Check's attributes. count is the client's global_word_count, 0 if it
// did not say. Errors begin as clients expect them.
func Decode(c *istiomixerv1.CompressedAttributes, count uint32) (*Bag, error) {
	d, err := newDecoder(c.GetWords(), count)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if err := d.all(c, out); err != nil {
		return nil, err
	}
	return &Bag{values: out}, nil
}

// maxAttributes bounds those of all sets of a report together: a set of few bytes has all
// attributes of the one before.
const maxAttributes = 500_000

// DecodeReport reads a Report's batch: the first set is whole, each later one says what
// changed from the one before.
func DecodeReport(req *istiomixerv1.ReportRequest) ([]*Bag, error) {
	var out []*Bag
	running := map[string]any{}
	total := 0
	for i, set := range req.GetAttributes() {
		words := set.GetWords()
		if len(words) == 0 {
			words = req.GetDefaultWords()
		}
		d, err := newDecoder(words, req.GetGlobalWordCount())
		if err != nil {
			return nil, err
		}
		if err := d.all(set, running); err != nil {
			return nil, fmt.Errorf("%w (set %d)", err, i)
		}
		if total += len(running); total > maxAttributes {
			return nil, fmt.Errorf("%sset %d: more than %d attributes in all sets", refusal, i, maxAttributes)
		}
		out = append(out, &Bag{values: maps.Clone(running)})
	}
	return out, nil
}

type decoder struct{ words, global []string }

func newDecoder(words []string, count uint32) (decoder, error) {
	d := decoder{words: words, global: global().list}
	if int64(count) > int64(len(d.global)) {
		return d, fmt.Errorf("%sglobal_word_count %d: this server knows %d words", refusal, count, len(d.global))
	}
	if count > 0 {
		d.global = d.global[:count]
	}
	return d, nil
}

func (d decoder) word(i int32) (string, error) {
	if i >= 0 {
		if int(i) < len(d.global) {
			return d.global[i], nil
		}
		return "", fmt.Errorf("%sword index %d: the global list has %d words", refusal, i, len(d.global))
	}
	if at := -(int64(i) + 1); at < int64(len(d.words)) {
		return d.words[at], nil
	}
	return "", fmt.Errorf("%sword index %d: the message has %d words", refusal, i, len(d.words))
}

// into stores every value of one of the message's maps under its name.
func into[V any](d decoder, out map[string]any, from map[int32]V, value func(name string, v V) (any, error)) error {
	for i, v := range from {
		name, err := d.word(i)
		if err != nil {
			return err
		}
		decoded, err := value(name, v)
		if err != nil {
			return err
		}
		out[name] = decoded
	}
	return nil
}

func same[V any](_ string, v V) (any, error) { return v, nil }

func (d decoder) all(c *istiomixerv1.CompressedAttributes, out map[string]any) error {
	for _, step := range []func() error{
		func() error { return into(d, out, c.GetStrings(), d.text) },
		func() error { return into(d, out, c.GetInt64S(), same[int64]) },
		func() error { return into(d, out, c.GetDoubles(), same[float64]) },
		func() error { return into(d, out, c.GetBools(), same[bool]) },
		func() error { return into(d, out, c.GetTimestamps(), timestamp) },
		func() error { return into(d, out, c.GetDurations(), duration) },
		func() error { return into(d, out, c.GetBytes(), address) },
		func() error { return into(d, out, c.GetStringMaps(), d.stringMap) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// text reads a string; the name of an address makes it one.
func (d decoder) text(name string, i int32) (any, error) {
	s, err := d.word(i)
	if err != nil || !strings.HasSuffix(name, ".ip") {
		return s, err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return nil, fmt.Errorf("%sattribute %s: %q is not an address", refusal, name, s)
	}
	return a.Unmap(), nil
}

func address(name string, b []byte) (any, error) {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return nil, fmt.Errorf("%sattribute %s: %d bytes are not an address", refusal, name, len(b))
	}
	return a.Unmap(), nil
}

func (d decoder) stringMap(_ string, m *istiomixerv1.StringMap) (any, error) {
	out := make(map[string]string, len(m.GetEntries()))
	for k, v := range m.GetEntries() {
		key, err := d.word(k)
		if err != nil {
			return nil, err
		}
		if out[key], err = d.word(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}
