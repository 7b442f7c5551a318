package supervise

import "testing"

func TestReasonOfUnreadyProcesses(t *testing.T) {
	cases := map[string]string{
		`{"ready":false,"waitingFor":"clusters\nfrom pilot"}`: "waits for clusters from pilot",
		`{"ready":false}`:                     `status 503: {"ready":false}`,
		"  not \x1b[2J yet\n\tnever mind ":    "status 503: not [2J yet never mind",
		"":                                    "status 503: ",
		`{"waitingFor":"nothing: it drains"}`: "it drains",
	}
	for body, want := range cases {
		if got := reason(503, []byte(body)); got != want {
			t.Errorf("%q: got %q, want %q", body, got, want)
		}
	}
}
