package dispatch

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"

	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/attr"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// probe is an adapter that behaves as its handler's status message says, and counts. Of a
// handler whose message begins with "now" it says that it answers at once.
type probe struct {
	built, closed, running atomic.Int64
	reports                atomic.Int64
	gate                   chan struct{} // closed to let "block" go on
}

func (p *probe) info() adapter.Info {
	return adapter.Info{
		Name:      "denier",
		Templates: []string{template.NameCheckNothing, template.NameReportNothing},
		Params:    &configv1.DenierParams{},
		Build: func(m proto.Message, _ adapter.Env) (adapter.Handler, error) {
			s := m.(*configv1.DenierParams).GetStatus()
			switch s.GetMessage() {
			case "no handler":
				return nil, errors.New("it does not want to")
			case "panic in build":
				panic("in build")
			}
			p.built.Add(1)
			return &probed{p, s.GetMessage(), codes.Code(s.GetCode())}, nil
		},
	}
}

type probed struct {
	p    *probe
	how  string
	code codes.Code
}

func (h *probed) Run(ctx context.Context) error {
	h.p.running.Add(1)
	defer h.p.running.Add(-1)
	<-ctx.Done()
	return nil
}

func (h *probed) Close() error {
	h.p.closed.Add(1)
	return nil
}

func (h *probed) Immediate() bool { return strings.HasPrefix(h.how, "now") }

func (h *probed) CheckNothing(ctx context.Context, _ template.CheckNothing) (adapter.Verdict, error) {
	switch how, rest, _ := strings.Cut(strings.TrimPrefix(h.how, "now "), " "); how {
	case "slow":
		d, _ := time.ParseDuration(rest)
		time.Sleep(d) // virtual: every test that is slow runs in a bubble
	case "block":
		<-h.p.gate
	case "hang":
		<-ctx.Done()
		return adapter.Verdict{}, ctx.Err()
	case "error":
		return adapter.Verdict{}, errors.New("the backend is away")
	case "panic":
		panic("in a call")
	}
	return adapter.Verdict{Code: h.code, Message: h.how, ValidDuration: time.Minute, ValidUseCount: 7}, nil
}

func (h *probed) ReportNothing(context.Context, []template.ReportNothing) error {
	h.p.reports.Add(1)
	if strings.HasSuffix(h.how, "panic") {
		panic("in a report")
	}
	return nil
}

// rules makes documents: one rule with a handler of its own for each "name: class
// timeout match? | code how".
func rules(t testing.TB, specs ...string) []*configv1.Object {
	t.Helper()
	var text strings.Builder
	for _, s := range specs {
		name, rest, _ := strings.Cut(s, ": ")
		head, behaviour, _ := strings.Cut(rest, " | ")
		f := strings.SplitN(head, " ", 3)
		match := `"true"`
		if len(f) == 3 {
			match = "'" + f[2] + "'"
		}
		code, how, _ := strings.Cut(behaviour, " ")
		text.WriteString(`{apiVersion: outrigger.dev/v1, kind: Handler, metadata: {name: ` + name + `}, spec: {adapter: denier, params: {status: {code: ` + code + `, message: "` + how + `"}}}}
---
{apiVersion: outrigger.dev/v1, kind: Rule, metadata: {name: ` + name + `}, spec: {match: ` + match + `, onUnavailable: ` + f[0] + `, timeout: ` + f[1] + `, actions: [{handler: ` + name + `, instances: [i, r]}]}}
---
`)
	}
	text.WriteString(`{apiVersion: outrigger.dev/v1, kind: Instance, metadata: {name: i}, spec: {template: checknothing}}
---
{apiVersion: outrigger.dev/v1, kind: Instance, metadata: {name: r}, spec: {template: reportnothing}}
`)
	decoded, problems := decode.Documents("rules", []byte(text.String()), "")
	for _, p := range problems {
		t.Fatalf("%s:%d: %s\n%s", p.GetFile(), p.GetLine(), p.GetMessage(), text.String())
	}
	var out []*configv1.Object
	for _, d := range decoded {
		out = append(out, d.Object)
	}
	return out
}

// running returns a Dispatcher that runs with the test.
func running(t testing.TB) *Dispatcher {
	t.Helper()
	d, err := New(telemetry.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return d
}

func (p *probe) swap(t testing.TB, d *Dispatcher, specs ...string) *plan.Plan {
	t.Helper()
	pl := plan.Build(plan.Input{Objects: rules(t, specs...), Adapters: []adapter.Info{p.info()}, Root: []string{"default"}})
	for _, s := range pl.RuleStatus {
		if s.Err != nil {
			t.Fatalf("rule %s: %v", s.Name, s.Err)
		}
	}
	if err := d.Swap(context.Background(), pl); err != nil {
		t.Fatal(err)
	}
	return pl
}

func request(values map[string]any) *attr.Request {
	all := map[string]any{"destination.service": "ratings.default.svc.cluster.local", "context.protocol": "http"}
	for k, v := range values {
		all[k] = v
	}
	return attr.NewRequest(attr.NewBag(all))
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	const noAnswer = "no answer, and the rule says to deny then"
	for _, c := range []struct {
		name  string
		rules []string
		class plan.Class
		took  time.Duration
		want  plan.Verdict
	}{
		{"no rules", nil, plan.All, 0, plan.Verdict{ValidDuration: 10 * time.Second, ValidUseCount: 200}},
		{"yes", []string{"a: ALLOW 0.2s | 0 fine"}, plan.All, 0, plan.Verdict{ValidDuration: time.Minute, ValidUseCount: 7}},
		{"no", []string{"a: ALLOW 0.2s | 7 Not allowed"}, plan.All, 0,
			plan.Verdict{Code: 7, Message: "a.denier.default:Not allowed", ValidDuration: time.Minute, ValidUseCount: 7}},
		{"two that refuse", []string{"a: ALLOW 0.2s | 5 x", "b: DENY 0.2s | 7 y", "c: DENY 0.2s | 0 z"}, plan.All, 0,
			plan.Verdict{Code: 5, Message: "a.denier.default:x, b.denier.default:y", ValidDuration: time.Minute, ValidUseCount: 7}},
		{"only one class", []string{"a: ALLOW 0.2s | 5 x", "b: DENY 0.2s | 7 y"}, plan.Deny, 0,
			plan.Verdict{Code: 7, Message: "b.denier.default:y", ValidDuration: time.Minute, ValidUseCount: 7}},
		{"only the other", []string{"a: ALLOW 0.2s | 5 x", "b: DENY 0.2s | 7 y"}, plan.Allow, 0,
			plan.Verdict{Code: 5, Message: "a.denier.default:x", ValidDuration: time.Minute, ValidUseCount: 7}},
		{"a match without value, deny", []string{`a: DENY 0.2s source.name == "x" | 7 x`}, plan.All, 0, plan.Verdict{
			Code: codes.Unavailable, Message: "a.default:" + noAnswer, ValidDuration: 10 * time.Second, ValidUseCount: 200}},
		{"a match without value, allow", []string{`a: ALLOW 0.2s source.name == "x" | 7 x`}, plan.All, 0,
			plan.Verdict{ValidDuration: 10 * time.Second, ValidUseCount: 200}},
		{"another destination", []string{`a: DENY 0.2s destination.service == "x" | 7 x`}, plan.All, 0,
			plan.Verdict{ValidDuration: 10 * time.Second, ValidUseCount: 200}},
		{"slow but in time", []string{"a: DENY 0.2s | 7 slow 199ms"}, plan.All, 199 * time.Millisecond,
			plan.Verdict{Code: 7, Message: "a.denier.default:slow 199ms", ValidDuration: time.Minute, ValidUseCount: 7}},
		{"too slow, allow", []string{"a: ALLOW 0.2s | 7 slow 201ms"}, plan.All, 200 * time.Millisecond, plan.Verdict{}},
		{"too slow, deny", []string{"a: DENY 0.2s | 0 slow 201ms"}, plan.All, 200 * time.Millisecond,
			plan.Verdict{Code: codes.Unavailable, Message: "a.default:" + noAnswer}},
		{"hanging, own timeout", []string{"a: DENY 3s | 0 hang"}, plan.All, 3 * time.Second,
			plan.Verdict{Code: codes.Unavailable, Message: "a.default:" + noAnswer}},
		{"two slow ones side by side", []string{"a: DENY 0.2s | 0 slow 150ms", "b: ALLOW 0.2s | 0 slow 180ms"}, plan.All, 180 * time.Millisecond,
			plan.Verdict{ValidDuration: time.Minute, ValidUseCount: 7}},
		{"error, allow", []string{"a: ALLOW 0.2s | 0 error"}, plan.All, 0, plan.Verdict{}},
		{"error, deny", []string{"a: DENY 0.2s | 0 error"}, plan.All, 0, plan.Verdict{Code: codes.Unavailable, Message: "a.default:" + noAnswer}},
		{"panic, deny", []string{"a: DENY 0.2s | 0 panic"}, plan.All, 0, plan.Verdict{Code: codes.Unavailable, Message: "a.default:" + noAnswer}},
		{"an error does not hide a refusal", []string{"a: ALLOW 0.2s | 0 error", "b: ALLOW 0.2s | 7 no"}, plan.All, 0,
			plan.Verdict{Code: 7, Message: "b.denier.default:no"}},
		{"no handler, deny", []string{"a: DENY 0.2s | 0 no handler"}, plan.All, 0, plan.Verdict{Code: codes.Unavailable, Message: "a.default:" + noAnswer}},
		{"no handler, allow", []string{"a: ALLOW 0.2s | 0 panic in build"}, plan.All, 0, plan.Verdict{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := running(t)
				(&probe{}).swap(t, d, c.rules...)
				begun := time.Now()
				got := d.Check(t.Context(), request(nil), c.class)
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if took := time.Since(begun); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				time.Sleep(time.Second) // the slow ones go on for a little longer
			})
		})
	}
}

func TestAnswersDependOnWhatWasRead(t *testing.T) {
	t.Parallel()
	d := running(t)
	(&probe{}).swap(t, d, `a: ALLOW 0.2s request.headers["x-user"] == "" | 7 no`)
	req := request(map[string]any{"request.headers": map[string]string{"x-user": "jason", "other": "x"}, "source.name": "unread"})
	if v := d.Check(t.Context(), req, plan.All); v.Code != codes.OK {
		t.Errorf("got %v", v)
	}
	want := []attr.Reference{
		{Name: "context.protocol", Present: true}, {Name: "destination.namespace"}, {Name: "destination.service", Present: true},
		{Name: "request.headers", Key: "x-user", Keyed: true, Present: true},
	}
	if diff := cmp.Diff(want, req.Referenced()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHandlersAreKeptWhileTheyStayTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, p := running(t), &probe{}
		p.swap(t, d, "a: ALLOW 0.2s | 7 x", "b: ALLOW 0.2s | 7 y")
		p.swap(t, d, "a: DENY 0.3s | 7 x", "b: ALLOW 0.2s | 7 changed")
		synctest.Wait()
		if built, closed, running := p.built.Load(), p.closed.Load(), p.running.Load(); built != 3 || closed != 1 || running != 2 {
			t.Errorf("built %d, closed %d, running %d, want 3, 1, 2", built, closed, running)
		}
		p.swap(t, d)
		synctest.Wait()
		if closed, running := p.closed.Load(), p.running.Load(); closed != 3 || running != 0 {
			t.Errorf("without rules: closed %d, running %d, want 3, 0", closed, running)
		}
	})
}

func TestHandlersCloseAfterTheirLastCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, p := running(t), &probe{gate: make(chan struct{})}
		p.swap(t, d, "a: ALLOW 0.2s | 0 block")
		if v := d.Check(t.Context(), request(nil), plan.All); v.Code != codes.OK {
			t.Errorf("got %v", v)
		}
		p.swap(t, d)
		synctest.Wait()
		if n := p.closed.Load(); n != 0 {
			t.Errorf("closed %d handlers under a call that goes on", n)
		}
		close(p.gate)
		synctest.Wait()
		if n := p.closed.Load(); n != 1 {
			t.Errorf("closed %d handlers after the call, want 1", n)
		}
	})
}

func TestHangingAdaptersDoNotPileUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, p := running(t), &probe{gate: make(chan struct{})}
		p.swap(t, d, "a: ALLOW 0.001s | 0 block")
		for range maxCalls + 10 {
			d.Check(t.Context(), request(nil), plan.All)
		}
		synctest.Wait()
		if n := len(d.slots); n != maxCalls {
			t.Errorf("%d calls are under way, want %d", n, maxCalls)
		}
		_, rules, handlers := d.Status()
		if len(rules) != 1 || rules[0].GetMatched() != maxCalls+10 || len(handlers) != 1 || handlers[0].GetCalls() != 0 {
			t.Errorf("status %v %v: want %d matches and no finished call", rules, handlers, maxCalls+10)
		}
		close(p.gate)
		synctest.Wait()
		if n := len(d.slots); n != 0 {
			t.Errorf("%d calls are under way after all returned", n)
		}
	})
}

func TestReport(t *testing.T) {
	t.Parallel()
	d, p := running(t), &probe{}
	p.swap(t, d, "a: ALLOW 0.2s | 7 x", "b: DENY 0.2s | 7 panic", `c: DENY 0.2s source.name == "x" | 7 x`, `e: DENY 0.2s response.code == 200 | 7 x`)
	err := d.Report(t.Context(), request(map[string]any{"response.code": int64(404)}))
	if p.reports.Load() != 2 {
		t.Errorf("%d reports arrived, want 2", p.reports.Load())
	}
	for _, want := range []string{"rule c.default: match: ", "source.name is absent", "handler b.denier.default: the adapter panicked: in a report"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	d, p := running(t), &probe{}
	p.swap(t, d, "a: ALLOW 0.2s | 0 no handler", "b: ALLOW 0.2s | 0 fine", "c: ALLOW 0.2s | 0 error")
	d.Check(t.Context(), request(nil), plan.All)
	_, rules, handlers := d.Status()
	var got []string
	for _, r := range rules {
		got = append(got, strings.TrimSpace(r.GetName()+" "+strings.ReplaceAll(r.GetError(), "\n", " ")))
	}
	for _, h := range handlers {
		got = append(got, strings.TrimSpace(h.GetName()+" "+h.GetError()))
	}
	want := []string{
		"a.default its handler could not be made it does not want to", "b.default", "c.default",
		"a.default it does not want to", "b.default", "c.default",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := handlers[2].GetErrors(); n != 1 {
		t.Errorf("%d errors of a handler that failed once", n)
	}
	if r := rules[1]; r.GetUnanswered() != 0 || r.GetLastUnanswered() != "" {
		t.Errorf("%d requests that a rule did not answer, %q; it answered", r.GetUnanswered(), r.GetLastUnanswered())
	}
	if r := rules[2]; r.GetUnanswered() != 1 || !strings.Contains(r.GetLastUnanswered(), "handler c.denier.default: ") {
		t.Errorf("%d requests that a rule did not answer, %q; want one, of its handler", r.GetUnanswered(), r.GetLastUnanswered())
	}
}
