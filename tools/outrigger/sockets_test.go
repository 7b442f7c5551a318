package main_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestQuestionsWaitForAKilledProcess: what the supervisor listens on for a process stays
// open while it is away, so that nobody is refused; until it is not wanted any more.
func TestQuestionsWaitForAKilledProcess(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.edit(t, `app: {command: standin, args: [app, ":9080"], user: application, ready: {tcp: "127.0.0.1:9080"}}`,
			`app: {command: standin, args: [app, ":15021"], user: application, ready: {tcp: "127.0.0.1:15021"}}`)
		s.edit(t, `to: "10.77.1.1:9080"`, `to: "10.77.1.1:15021"`)
		u := s.start(t)
		wantAnswers(t, u.ask(t), u)

		hold := s.path("state/hosts/reviews-v1/hold")
		check(t, os.WriteFile(hold, nil, 0o600))
		check(t, syscall.Kill(u.status(t, "reviews-v1.sidecar").PID, syscall.SIGKILL))
		u.waitFor(t, `reviews-v1.sidecar +restarting .*exit status 1`)
		answers := u.ask(t)
		select {
		case got := <-answers:
			t.Errorf("while the process is away: %q, want no answer yet", got)
		case <-time.After(200 * time.Millisecond):
		}
		check(t, os.Remove(hold))
		u.waitFor(t, `reviews-v1.sidecar +ready`)
		wantAnswers(t, answers, u)

		if code, output := s.run(t, "fleet", "--state", "state", "stop", "reviews-v1.sidecar"); code != 0 {
			t.Errorf("stop: exit code %d: %s", code, output)
		}
		answers = u.ask(t)
		for range cap(answers) {
			if got := <-answers; !strings.Contains(got, "connection refused") {
				t.Errorf("after the process was stopped: %q, want a refusal", got)
			}
		}
	})
}

// ask has the application on reviews-v1 ask the name server of its host, over each network.
func (u *up) ask(t *testing.T) <-chan string {
	t.Helper()
	application := "http://" + u.snapshot(t).Published["reviews"]
	networks := []string{"udp", "tcp"}
	answers := make(chan string, len(networks))
	for _, network := range networks {
		go func() {
			body, err := fetch(application + "/ask?network=" + network)
			if err != nil {
				body = err.Error()
			}
			answers <- body
		}()
	}
	return answers
}

// wantAnswers wants each answer from the sidecar that runs now.
func wantAnswers(t *testing.T, answers <-chan string, u *up) {
	t.Helper()
	want := fmt.Sprintf("answered by %d", u.status(t, "reviews-v1.sidecar").LocalPID)
	for range cap(answers) {
		if got := <-answers; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
