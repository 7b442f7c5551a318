package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// Exit codes of apply --wait.
const (
	exitMissing = 4
	exitRefused = 5
)

// TestE2E04Wait: apply --wait returns when every proxy that uses the object has it in
// force, and says how many; what it says when that does not happen.
func TestE2E04Wait(t *testing.T) {
	s := common(t)
	t.Run("says how many", s.testWaitCounts)
	t.Run("nobody is interested", s.testWaitNobody)
	t.Run("a proxy refuses", s.testWaitRefused)
	t.Run("a proxy is missing", s.testWaitMissing)
	t.Run("a proxy goes", s.testWaitGoes)
	t.Run("a proxy comes", s.testWaitComes)
}

// waited asks pilot who has an object in force at a revision, until that is decided, and
// tells see of every answer.
func waited(ctx context.Context, conn *grpc.ClientConn, object ref, revision uint64, see func(*pilotv1.WaitResponse)) (*pilotv1.WaitResponse, error) {
	stream, err := pilotv1.NewConfigServiceClient(conn).Wait(ctx, &pilotv1.WaitRequest{
		Refs:     []*configv1.ObjectRef{{Kind: object.Kind, Namespace: object.Namespace, Name: object.Name}},
		Revision: revision, Timeout: durationpb.New(90 * time.Second),
	})
	if err != nil {
		return nil, err
	}
	var last *pilotv1.WaitResponse
	for {
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		last = next
		see(next)
	}
}

// interested is how many proxies use an object that is in force.
func (s *site) interested(t *testing.T, object ref) int {
	t.Helper()
	conn := must(s.GRPC("pilot"))(t)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	last := must(waited(ctx, conn, object, s.revision(t), func(*pilotv1.WaitResponse) {}))(t)
	if last.GetOutcome() != pilotv1.WaitResponse_LIVE || last.GetLive() != last.GetInterested() {
		t.Fatalf("%v is not in force: %v", object, last)
	}
	return int(last.GetInterested())
}

// detailsRule is an object that every sidecar uses which may call details.
var detailsRule = ref{Kind: "RouteRule", Namespace: "default", Name: "waited-for"}

// waitedFor is that object in another version, which is something new to every proxy.
func waitedFor(version string) string {
	return strings.Replace(testRule(detailsRule.Name), "{exact: "+detailsRule.Name+"}", "{exact: "+version+"}", 1)
}

// on is how `apply` says that an object is in force on n proxies.
func on(n int) string { return fmt.Sprintf("in force on %d proxies (", n) }

// holders are the proxies whose own configuration has a text in it.
func (s *site) holders(t *testing.T, text string) []string {
	t.Helper()
	var found []string
	for _, p := range must(s.status(t.Context()))(t).Proxies {
		host, _, _ := strings.Cut(p.Name, ".")
		if strings.Contains(must(s.Envoy(host).Get(t.Context(), "/config_dump"))(t), text) {
			found = append(found, p.Name)
		}
	}
	return found
}

func (s *site) testWaitCounts(t *testing.T) {
	result := s.applyLive(t, write(t, "waited.yaml", testRule(detailsRule.Name)))
	n := s.interested(t, detailsRule)
	check(t, result.Expect(0, on(n)))
	if have := s.holders(t, detailsRule.Name); len(have) != n {
		t.Errorf("the rule is in force on %d proxies, and %d have it: %v", n, len(have), have)
	}
	sidecars := 0
	for _, host := range must(s.Snapshot())(t).Hosts {
		if host.Sidecar {
			sidecars++
		}
	}
	if n != sidecars {
		t.Errorf("%d proxies use the rule; who may call details are the %d sidecars", n, sidecars)
	}
	told := false
	for _, o := range must(s.status(t.Context()))(t).Objects {
		if o.Ref == detailsRule {
			told = o.Interested == n && o.Live == n
		}
	}
	if !told {
		t.Errorf("%v is in force on %d proxies; pilot's status says otherwise", detailsRule, n)
	}
	// In force means in force: the proxy of a caller acts on it at once.
	s.applyLive(t, s.sample("route-rule-reviews-v3"))
	check(t, s.showsStars(t.Context(), "", "v3", inRow))
}

func (s *site) testWaitNobody(t *testing.T) {
	text := "apiVersion: outrigger.dev/v1\nkind: Handler\nmetadata: {name: unused, namespace: default}\nspec: {adapter: noop}\n"
	s.expect(t, 0, []string{"no prox"}, "apply", "--wait", "-f", write(t, "unused.yaml", text))
}

// testWaitRefused has one proxy take less than pilot thinks, as nothing that pilot lets
// through is refused by a proxy as it comes.
func (s *site) testWaitRefused(t *testing.T) {
	const limit = "re2.max_program_size.error_level"
	strict := s.Envoy("details-v1")
	check(t, strict.SetRuntime(t.Context(), limit, "20"))
	t.Cleanup(func() { check(t, strict.SetRuntime(context.WithoutCancel(t.Context()), limit, "")) })
	text := strings.Replace(testRule("refused"), "{exact: refused}", "{regex: '(abc){20}'}", 1)
	file := write(t, "refused.yaml", text)
	result := s.expect(t, exitRefused, []string{"details-v1", "regex", "program size"}, "apply", "--wait", "-f", file)
	if strings.Contains(result.Stdout+result.Stderr, "ratings-v1") {
		t.Errorf("a proxy is named that took it: %s", result)
	}
	// A refusal of one object harms nobody, and the next change goes through.
	check(t, first(s.page(t.Context(), "")))
	s.expect(t, 0, nil, "delete", "-f", file)
	s.applyLive(t, s.sample("route-rule-reviews-v2"))
	check(t, s.showsStars(t.Context(), "", "v2", inRow))
}

// first drops what a call returns beside its error.
func first[T any](_ T, err error) error { return err }

// freeze stops the Envoy of a host without ending it, until the returned function is
// called or the test ends.
func (s *site) freeze(t *testing.T, host string) (thaw func()) {
	t.Helper()
	pid := must(s.EnvoyPID(t.Context(), host))(t)
	check(t, syscall.Kill(pid, syscall.SIGSTOP))
	thaw = func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("wake the Envoy of %s: %v", host, err)
		}
	}
	t.Cleanup(thaw)
	return thaw
}

func (s *site) testWaitMissing(t *testing.T) {
	s.applyLive(t, write(t, "before.yaml", waitedFor("zeroth")))
	all := s.interested(t, detailsRule)
	thaw := s.freeze(t, "details-v1")
	file := write(t, "waited.yaml", waitedFor("first"))
	want := []string{"missing: details-v1", fmt.Sprintf("in force on %d of %d proxies", all-1, all)}
	result := s.expect(t, exitMissing, want, "apply", "--wait", "--timeout", "2s", "-f", file)
	if result.Took < 2*time.Second || result.Took > 8*time.Second {
		t.Errorf("--timeout 2s: took %v", result.Took)
	}
	if strings.Contains(result.Stdout+result.Stderr, "ratings-v1") {
		t.Errorf("a proxy is named that is not missing: %s", result)
	}
	thaw()
	s.applyLive(t, file)
}

// background is an apply --wait that has begun.
func (s *site) background(t *testing.T, file string) <-chan mesh.Result {
	t.Helper()
	done := make(chan mesh.Result, 1)
	ctx := t.Context()
	go func() {
		result, err := s.Outrigger(ctx, "apply", "--wait", "--timeout", "90s", "-f", file)
		if err != nil {
			result.Stderr += "\n" + err.Error()
			result.Code = -1
		}
		done <- result
	}()
	return done
}

func (s *site) testWaitGoes(t *testing.T) {
	s.applyLive(t, write(t, "before.yaml", waitedFor("before")))
	all := s.interested(t, detailsRule)
	pid := must(s.EnvoyPID(t.Context(), "details-v1"))(t)
	s.freeze(t, "details-v1")
	// An Envoy that does not answer cannot be asked to end either.
	kill := func() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("end the Envoy of details-v1: %v", err)
		}
	}
	file := write(t, "waited.yaml", waitedFor("second"))
	done := s.background(t, file)
	eventually(t, 10*time.Second, func(context.Context) error {
		if o, found := s.objects(t)[detailsRule.Kind+"/default/"+detailsRule.Name]; !found || !strings.Contains(fmt.Sprint(o.RouteRule), "second") {
			return fmt.Errorf("not applied yet: %+v", o)
		}
		return nil
	})
	select {
	case result := <-done:
		t.Fatalf("it did not wait for a proxy that does not answer: %s", result)
	default:
	}
	check(t, s.StopProcess(t.Context(), "details-v1"))
	defer s.backUp(t, "details-v1")
	kill()
	select {
	case result := <-done:
		check(t, result.Expect(0, on(all-1)))
	case <-time.After(60 * time.Second):
		t.Fatal("a proxy that has gone is still waited for")
	}
}

// backUp starts a host again and waits until the mesh knows it.
func (s *site) backUp(t *testing.T, host string) {
	t.Helper()
	check(t, s.StartProcess(t.Context(), host))
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		return errors.Join(s.Settled(host+".sidecar", host+".app"), s.inForce(ctx), s.connected(ctx))
	})
}

func (s *site) testWaitComes(t *testing.T) {
	s.applyLive(t, write(t, "waited.yaml", testRule(detailsRule.Name)))
	all := s.interested(t, detailsRule)
	check(t, s.StopProcess(t.Context(), "reviews-v3"))
	back := false
	defer func() {
		if !back {
			s.backUp(t, "reviews-v3")
		}
	}()
	eventually(t, 20*time.Second, func(context.Context) error {
		if n := s.interested(t, detailsRule); n != all-1 {
			return fmt.Errorf("%d of %d proxies are interested after one has gone", n, all)
		}
		return nil
	})
	thaw := s.freeze(t, "details-v1")
	file := write(t, "waited.yaml", waitedFor("third"))
	s.apply(t, file)
	revision := s.revision(t)
	conn := must(s.GRPC("pilot"))(t)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	began := make(chan struct{}, 1000) // one for each answer; far fewer come
	type end struct {
		last *pilotv1.WaitResponse
		err  error
	}
	done := make(chan end, 1)
	go func() {
		last, err := waited(ctx, conn, detailsRule, revision, func(*pilotv1.WaitResponse) { began <- struct{}{} })
		done <- end{last, err}
	}()
	select {
	case <-began:
	case e := <-done:
		t.Fatalf("it did not wait: %v, %v", e.last, e.err)
	}
	back = true
	s.backUpWhileFrozen(t, "reviews-v3")
	thaw()
	e := <-done
	if e.err != nil || e.last.GetOutcome() != pilotv1.WaitResponse_LIVE || int(e.last.GetInterested()) != all {
		t.Errorf("a proxy that came before the end is counted: want %d of %d, got %v, %v", all, all, e.last, e.err)
	}
}

// backUpWhileFrozen is backUp while another proxy does not answer.
func (s *site) backUpWhileFrozen(t *testing.T, host string) {
	t.Helper()
	check(t, s.StartProcess(t.Context(), host))
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		return errors.Join(s.Settled(host+".sidecar", host+".app"), s.connected(ctx))
	})
}
