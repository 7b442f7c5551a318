package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	istiomixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/istio/mixer/v1"
)

// attributes are in the form of istio.mixer.v1, all words in the message itself.
type attributes struct {
	words   []string
	strings map[int32]int32
	maps    map[int32]*istiomixerv1.StringMap
	int64s  map[int32]int64
}

func newAttributes() *attributes {
	return &attributes{strings: map[int32]int32{}, maps: map[int32]*istiomixerv1.StringMap{}, int64s: map[int32]int64{}}
}

// word returns the number of a word: a negative one is a position in the message's list.
func (a *attributes) word(text string) int32 {
	a.words = append(a.words, text)
	return -int32(len(a.words))
}

func (a *attributes) text(name, value string) *attributes {
	a.strings[a.word(name)] = a.word(value)
	return a
}

func (a *attributes) number(name string, value int64) *attributes {
	a.int64s[a.word(name)] = value
	return a
}

func (a *attributes) labels(name string, pairs ...string) *attributes {
	entries := map[int32]int32{}
	for i := 0; i < len(pairs); i += 2 {
		entries[a.word(pairs[i])] = a.word(pairs[i+1])
	}
	a.maps[a.word(name)] = &istiomixerv1.StringMap{Entries: entries}
	return a
}

func (a *attributes) message() *istiomixerv1.CompressedAttributes {
	return &istiomixerv1.CompressedAttributes{Words: a.words, Strings: a.strings, StringMaps: a.maps, Int64S: a.int64s}
}

// codePermissionDenied is that of google.rpc.Code.
const codePermissionDenied = 7

func (s *site) testMixerAPI(t *testing.T) {
	s.applyLive(t, s.samples("mixer-rule-deny-label", "mixer-rule-request-count")...)
	conn := must(s.GRPC("mixer"))(t)
	defer conn.Close()
	client := istiomixerv1.NewMixerClient(conn)
	call := func(version string) *attributes {
		return newAttributes().text("source.service", "e2e.default.svc.cluster.local").labels("source.labels", "app", "reviews", "version", version).
			text("destination.service", "ratings.default.svc.cluster.local").labels("destination.labels", "app", "ratings", "version", "v1").
			text("destination.namespace", "default").text("context.protocol", "http")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	eventually(t, acts, func(context.Context) error {
		_, err := client.Check(ctx, &istiomixerv1.CheckRequest{Attributes: call("v3").message()})
		return err
	})
	denied := must(client.Check(ctx, &istiomixerv1.CheckRequest{Attributes: call("v3").message()}))(t).GetPrecondition()
	if denied.GetStatus().GetCode() != codePermissionDenied || !strings.Contains(denied.GetStatus().GetMessage(), "Not allowed") {
		t.Errorf("check of v3: got %v, want it denied", denied)
	}
	if denied.GetValidDuration().AsDuration() <= 0 || denied.GetValidUseCount() <= 0 || len(denied.GetReferencedAttributes().GetAttributeMatches()) == 0 {
		t.Errorf("check of v3: a client cannot keep the answer: %v", denied)
	}
	passed := must(client.Check(ctx, &istiomixerv1.CheckRequest{Attributes: call("v2").message()}))(t).GetPrecondition()
	if passed.GetStatus().GetCode() != 0 {
		t.Errorf("check of v2: got %v, want it to pass", passed)
	}
	report := call("v9").number("response.code", 418).message()
	must(client.Report(ctx, &istiomixerv1.ReportRequest{Attributes: []*istiomixerv1.CompressedAttributes{report}}))(t)
	eventually(t, acts, func(ctx context.Context) error {
		n, err := s.counted(ctx, "request_count", `source_version="v9"`, `response_code="418"`)
		if err == nil && n != 1 {
			t.Fatalf("one report: counted %v times", n)
		}
		return err
	})
}
