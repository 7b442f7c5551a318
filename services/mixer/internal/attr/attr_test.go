package attr

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	istiomixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/istio/mixer/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/outrigger-mesh/outrigger/internal/rule"
)

var equalAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestDictionary(t *testing.T) {
	t.Parallel()
	list := global().list
	if len(list) != 167 {
		t.Errorf("%d words, want 167", len(list))
	}
	for i, want := range map[int]string{
		0: "source.ip", 94: "'200'", 111: "'0'", 112: "'1'", 134: "0", 135: "1", 136: "200",
		150: "destination.ip", 157: "destination.user", 166: "request.api_key",
	} {
		if list[i] != want {
			t.Errorf("word %d is %q, want %q", i, list[i], want)
		}
	}
}

// at is the index of a global word.
func at(t testing.TB, w string) int32 {
	t.Helper()
	i, ok := global().index[w]
	if !ok {
		t.Fatalf("%q is not a global word", w)
	}
	return i
}

func TestDecode(t *testing.T) {
	t.Parallel()
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := &istiomixerv1.CompressedAttributes{
		Words:      []string{"my.attribute", "x-user", "jason", "10.0.0.9", "my.ip"},
		Strings:    map[int32]int32{-1: -3, at(t, "target.service"): -3, -5: -4},
		Int64S:     map[int32]int64{at(t, "response.code"): 200},
		Doubles:    map[int32]float64{-2: 1.5},
		Bools:      map[int32]bool{-3: true},
		Timestamps: map[int32]*timestamppb.Timestamp{at(t, "request.time"): timestamppb.New(when)},
		Durations:  map[int32]*durationpb.Duration{at(t, "response.duration"): durationpb.New(time.Second)},
		Bytes:      map[int32][]byte{at(t, "source.ip"): {10, 0, 0, 1}, at(t, "target.ip"): netip.MustParseAddr("::ffff:10.0.0.2").AsSlice()},
		StringMaps: map[int32]*istiomixerv1.StringMap{at(t, "request.headers"): {Entries: map[int32]int32{-2: -3, at(t, ":method"): at(t, "GET")}}},
	}
	bag, err := Decode(c, 159)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"my.attribute": "jason", "target.service": "jason", "my.ip": netip.MustParseAddr("10.0.0.9"),
		"response.code": int64(200), "x-user": 1.5, "jason": true, "request.time": when, "response.duration": time.Second,
		"source.ip": netip.MustParseAddr("10.0.0.1"), "target.ip": netip.MustParseAddr("10.0.0.2"),
		"request.headers": map[string]string{"x-user": "jason", ":method": "GET"},
	}
	if d := cmp.Diff(want, bag.values, equalAddr); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := bag.Text("destination.service"); got != "jason" {
		t.Errorf("destination.service is %q, want what target.service says", got)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		count uint32
		attrs *istiomixerv1.CompressedAttributes
	}{
		"newer dictionary":  {168, nil},
		"global index":      {0, &istiomixerv1.CompressedAttributes{Bools: map[int32]bool{167: true}}},
		"beyond its count":  {111, &istiomixerv1.CompressedAttributes{Bools: map[int32]bool{111: true}}},
		"message index":     {0, &istiomixerv1.CompressedAttributes{Bools: map[int32]bool{-1: true}}},
		"lowest index":      {0, &istiomixerv1.CompressedAttributes{Bools: map[int32]bool{-1 << 31: true}}},
		"value index":       {0, &istiomixerv1.CompressedAttributes{Strings: map[int32]int32{1: -1}}},
		"address length":    {0, &istiomixerv1.CompressedAttributes{Bytes: map[int32][]byte{0: {1, 2, 3}}}},
		"address text":      {0, &istiomixerv1.CompressedAttributes{Words: []string{"x"}, Strings: map[int32]int32{0: -1}}},
		"timestamp":         {0, &istiomixerv1.CompressedAttributes{Timestamps: map[int32]*timestamppb.Timestamp{1: {Nanos: -1}}}},
		"absent timestamp":  {0, &istiomixerv1.CompressedAttributes{Timestamps: map[int32]*timestamppb.Timestamp{1: nil}}},
		"duration":          {0, &istiomixerv1.CompressedAttributes{Durations: map[int32]*durationpb.Duration{1: {Seconds: 1, Nanos: -1}}}},
		"key in string map": {0, &istiomixerv1.CompressedAttributes{StringMaps: map[int32]*istiomixerv1.StringMap{1: {Entries: map[int32]int32{-9: 0}}}}},
		"map value":         {0, &istiomixerv1.CompressedAttributes{StringMaps: map[int32]*istiomixerv1.StringMap{1: {Entries: map[int32]int32{0: -9}}}}},
	} {
		_, err := Decode(c.attrs, c.count)
		if err == nil || !strings.HasPrefix(err.Error(), "Request could not be processed due to invalid") {
			t.Errorf("%s: %v, want the prefix that clients look for", name, err)
		}
	}
}

func TestDecodeReport(t *testing.T) {
	t.Parallel()
	code, method, headers := at(t, "response.code"), at(t, "request.method"), at(t, "request.headers")
	bags, err := DecodeReport(&istiomixerv1.ReportRequest{
		DefaultWords: []string{"a", "b"},
		Attributes: []*istiomixerv1.CompressedAttributes{
			{Int64S: map[int32]int64{code: 200}, Strings: map[int32]int32{method: -1},
				StringMaps: map[int32]*istiomixerv1.StringMap{headers: {Entries: map[int32]int32{-1: -2}}}},
			{Int64S: map[int32]int64{code: 404}},
			{Words: []string{"z"}, Strings: map[int32]int32{method: -1}, StringMaps: map[int32]*istiomixerv1.StringMap{headers: {}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	for _, b := range bags {
		got = append(got, b.values)
	}
	first := map[string]string{"a": "b"}
	want := []map[string]any{
		{"response.code": int64(200), "request.method": "a", "request.headers": first},
		{"response.code": int64(404), "request.method": "a", "request.headers": first},
		{"response.code": int64(404), "request.method": "z", "request.headers": map[string]string{}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := DecodeReport(&istiomixerv1.ReportRequest{Attributes: []*istiomixerv1.CompressedAttributes{{}, {Bools: map[int32]bool{-1: true}}}}); err == nil {
		t.Error("a second set with an unknown word is taken")
	}
}

// A set that changes nothing is two bytes, and has all that the first one had.
func TestAReportHasSoManyAttributesAndNoMore(t *testing.T) {
	t.Parallel()
	first := &istiomixerv1.CompressedAttributes{Int64S: map[int32]int64{}}
	for i := range 1000 {
		first.Words = append(first.Words, fmt.Sprintf("word%d", i))
		first.Int64S[int32(-i-1)] = 1
	}
	req := &istiomixerv1.ReportRequest{Attributes: []*istiomixerv1.CompressedAttributes{first}}
	for len(req.GetAttributes()) < maxAttributes/1000 {
		req.Attributes = append(req.Attributes, &istiomixerv1.CompressedAttributes{})
	}
	if bags, err := DecodeReport(req); err != nil || len(bags) != maxAttributes/1000 {
		t.Errorf("as many as may be: %d sets, %v", len(bags), err)
	}
	req.Attributes = append(req.Attributes, &istiomixerv1.CompressedAttributes{})
	if _, err := DecodeReport(req); err == nil || !strings.Contains(err.Error(), "set 500: more than 500000 attributes") {
		t.Errorf("one more set: %v, want a refusal", err)
	}
}

func TestReferenced(t *testing.T) {
	t.Parallel()
	bag := NewBag(map[string]any{
		"source.ip": netip.MustParseAddr("10.0.0.1"), "request.method": "GET", "unread": "x",
		"request.headers": map[string]string{"x-user": "jason"}, "my.map": map[string]string{},
	})
	req := NewRequest(bag, Overlay{
		Values: map[string]any{"source.labels": map[string]string{"version": "v1"}, "source.name": nil},
		Inputs: []string{"source.ip", "source.user"},
	})
	lang, err := rule.New()
	if err != nil {
		t.Fatal(err)
	}
	p, err := lang.Compile(`source.labels["version"] == "v1" && request.method == "GET" && request.headers["x-user"] == "jason" &&
		!("source.ip" in request.headers) && first(request.path, "none") == "none"`, rule.Bool)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Match(req); err != nil || !ok {
		t.Fatalf("match: %v, %v", ok, err)
	}
	if _, ok := req.Value("source.name"); ok {
		t.Error("a hidden fact is there")
	}
	for _, c := range []struct {
		count uint32
		want  []string
	}{
		{167, []string{"request.headers[source.ip] ABSENCE", "request.headers[x-user] EXACT", "request.method EXACT", "request.path ABSENCE", "source.ip EXACT", "source.user ABSENCE"}},
		{159, []string{"request.headers EXACT", "request.method EXACT", "request.path ABSENCE", "source.ip EXACT", "source.user ABSENCE"}},
		{1, []string{"request.headers EXACT", "request.method EXACT", "request.path ABSENCE", "source.ip EXACT", "source.user ABSENCE"}},
	} {
		got := readable(t, EncodeReferenced(req.Referenced(), c.count), c.count)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("global_word_count %d (-want +got):\n%s", c.count, d)
		}
	}
}

// readable reads references as a client would that knows count words.
func readable(t *testing.T, refs *istiomixerv1.ReferencedAttributes, count uint32) []string {
	t.Helper()
	d, err := newDecoder(refs.GetWords(), count)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range refs.GetAttributeMatches() {
		name, err := d.word(m.GetName())
		if err != nil {
			t.Fatal(err)
		}
		if m.GetMapKey() != 0 {
			key, err := d.word(m.GetMapKey())
			if err != nil {
				t.Fatal(err)
			}
			name += "[" + key + "]"
		}
		out = append(out, fmt.Sprint(name, " ", m.GetCondition()))
	}
	return out
}

func TestUnnoted(t *testing.T) {
	t.Parallel()
	headers := map[string]string{"x-user": "jason"}
	bag := NewBag(map[string]any{"request.headers": headers, "source.name": "sent", "request.method": "GET"})
	facts := Overlay{Values: map[string]any{"source.labels": headers, "source.name": nil}, Inputs: []string{"source.ip"}}
	noted, unnoted := NewRequest(bag, facts), Unnoted(bag, facts)
	for _, text := range []string{
		`request.headers["x-user"] + request.method`, `first(source.name, "hidden")`, `source.labels["x-user"]`,
		`string(size(request.headers))`, `first(request.path, "absent")`,
	} {
		p, err := rule.Compile(text, rule.String)
		if err != nil {
			t.Fatal(err)
		}
		want, err := p.Eval(noted)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Eval(unnoted); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v as of a request that notes", text, got, err, want)
		}
	}
	if got := unnoted.Referenced(); len(got) != 0 {
		t.Errorf("it noted %v", got)
	}
}

func TestWholeMapIsReferenced(t *testing.T) {
	t.Parallel()
	req := NewRequest(NewBag(map[string]any{"request.headers": map[string]string{"a": ""}}))
	p, err := rule.Compile(`size(request.headers) == 1`, rule.Bool)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Match(req); !ok || err != nil {
		t.Fatalf("match: %v, %v", ok, err)
	}
	if d := cmp.Diff([]Reference{{Name: "request.headers", Present: true}}, req.Referenced()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func socket(addr string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: addr, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func TestFromCheck(t *testing.T) {
	t.Parallel()
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got := FromCheck(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: socket("10.77.1.3", 4000), Principal: "spiffe://cluster.local/ns/default/sa/a"},
		Destination: &authv3.AttributeContext_Peer{Address: socket("10.77.1.4", 9080), Principal: "spiffe://cluster.local/ns/default/sa/b"},
		Request: &authv3.AttributeContext_Request{Time: timestamppb.New(when), Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "/ratings/0?x=1", Host: "ratings:9080", Scheme: "http", Size: -1,
			Headers: map[string]string{":method": "GET", "X-User": "jason", "x-request-id": "r1", "user-agent": "curl", "referer": "there"},
		}},
	}}).values
	want := map[string]any{
		"context.protocol": "http", "request.size": int64(0), "request.time": when,
		"source.ip": netip.MustParseAddr("10.77.1.3"), "source.port": int64(4000), "source.user": "spiffe://cluster.local/ns/default/sa/a",
		"destination.ip": netip.MustParseAddr("10.77.1.4"), "destination.port": int64(9080), "destination.user": "spiffe://cluster.local/ns/default/sa/b",
		"request.method": "GET", "request.path": "/ratings/0?x=1", "request.host": "ratings:9080", "request.scheme": "http",
		"request.headers": map[string]string{":method": "GET", "x-user": "jason", "x-request-id": "r1", "user-agent": "curl", "referer": "there"},
		"request.id":      "r1", "request.useragent": "curl", "request.referer": "there",
	}
	if d := cmp.Diff(want, got, equalAddr); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := FromCheck(nil); got.Text("context.protocol") != "http" {
		t.Errorf("an empty request: %v", got.values)
	}
}

// FuzzDecode: bytes from a client become a bag or an error, never a panic.
func FuzzDecode(f *testing.F) {
	seed, err := proto.Marshal(&istiomixerv1.CompressedAttributes{Words: []string{"a"}, Strings: map[int32]int32{-1: 3}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, uint32(159))
	f.Fuzz(func(t *testing.T, data []byte, count uint32) {
		var c istiomixerv1.CompressedAttributes
		if proto.Unmarshal(data, &c) != nil {
			return
		}
		bag, err := Decode(&c, count)
		if err == nil && bag == nil {
			t.Errorf("neither bag nor error: %s", prototext.Format(&c))
		}
	})
}
