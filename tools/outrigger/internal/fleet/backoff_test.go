package fleet_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

func TestBackoffDoublesUntilAProcessRanForAWhile(t *testing.T) {
	var b fleet.Backoff
	var got []time.Duration
	for _, ran := range []time.Duration{0, 0, time.Second, 0, 0, 0, 0, 0, 9 * time.Second, 10 * time.Second, 0} {
		got = append(got, b.Next(ran, false)/time.Millisecond)
	}
	want := []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 100, 200}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pauses in ms (-want +got):\n%s", diff)
	}
}

func TestAProcessThatCameUpIsSoonBack(t *testing.T) {
	var b fleet.Backoff
	var got []time.Duration
	for _, cameUp := range []bool{true, true, true, true, true, false, true} {
		got = append(got, b.Next(time.Second, cameUp)/time.Millisecond)
	}
	want := []time.Duration{100, 200, 400, 500, 500, 3200, 500}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pauses in ms (-want +got):\n%s", diff)
	}
}

func TestParsePorts(t *testing.T) {
	for text, want := range map[string]fleet.Ports{
		"15090":       {First: 15090, Last: 15090},
		"15020-15029": {First: 15020, Last: 15029},
		"1 - 65535":   {First: 1, Last: 65535},
	} {
		if got, err := fleet.ParsePorts(text); err != nil || got != want {
			t.Errorf("%q: got %v, error %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "x", "9-8", "1-", "-1", "65536", "1-65536"} {
		if got, err := fleet.ParsePorts(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}
