package ingest_test

import (
	"strings"
	"testing"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
)

func TestToldIsWhatAPersonReads(t *testing.T) {
	var all []*pilotv1.Problem
	for range 100 {
		all = append(all, &pilotv1.Problem{Message: "short"})
	}
	if got := ingest.Told(all); len(got) != 100 || got[99].GetMessage() != "short" {
		t.Errorf("of 100: %d, the last %q", len(got), got[len(got)-1].GetMessage())
	}
	all[0] = &pilotv1.Problem{Message: strings.Repeat("é", 1<<20)}
	all = append(all, all[1:]...)
	got := ingest.Told(all)
	if len(got) != 101 || got[100].GetMessage() != "and 99 more" {
		t.Errorf("of 199: %d, the last %q", len(got), got[len(got)-1].GetMessage())
	}
	if text := got[0].GetMessage(); len(text) > 1100 || !strings.HasSuffix(text, "é … (cut)") || !strings.HasPrefix(text, "éé") {
		t.Errorf("a long one: %d bytes, %q", len(text), text[max(0, len(text)-20):])
	}
}
