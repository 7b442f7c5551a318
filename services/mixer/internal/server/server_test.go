package server

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	istiomixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/istio/mixer/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	mixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/mixer/v1"
	"golang.org/x/tools/txtar"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/outrigger-mesh/outrigger/proto/decode"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/denier"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/list"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/prometheus"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/stdio"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/dispatch"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/registry"
)

var update = flag.Bool("update", false, "rewrite the wanted output in testdata")

// mesh is a whole mixer without bus, on a connection in memory. The caller of a call is
// named in its context, as TLS would name it.
type mesh struct {
	t        testing.TB
	world    *dispatch.World
	conn     *grpc.ClientConn
	lines    *bytes.Buffer
	exporter *prometheus.Exporter
}

type asKey struct{}

func as(ctx context.Context, account string) context.Context {
	return context.WithValue(ctx, asKey{}, account)
}

const header = "test-caller"

func newMesh(t *testing.T, documents []byte) *mesh {
	t.Helper()
	m := &mesh{t: t, world: dispatch.NewWorld(), lines: &bytes.Buffer{}, exporter: prometheus.New("", telemetry.Discard().Log)}
	tel := telemetry.Discard()
	d, err := dispatch.New(tel)
	if err != nil {
		t.Fatal(err)
	}
	trusted := func(id spiffe.ID) bool { return id.Namespace() == "outrigger-system" }
	s, err := New(d, m.world, trusted, tel)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	m.serve(s, d)
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	m.load(d, documents)
	return m
}

// load makes the plan and the world of documents.
func (m *mesh) load(d *dispatch.Dispatcher, documents []byte) {
	m.t.Helper()
	decoded, problems := decode.Documents("documents", documents, "")
	for _, p := range problems {
		m.t.Fatalf("line %d: %s", p.GetLine(), p.GetMessage())
	}
	var objects []*configv1.Object
	for _, one := range decoded {
		objects = append(objects, one.Object)
	}
	m.world.Set(registry.Build(objects, "cluster.local", 3))
	p := plan.Build(plan.Input{Objects: objects, Root: []string{"outrigger-system"}, Revision: 4, Adapters: []adapter.Info{
		denier.Info(), list.Info(), m.exporter.Info(), stdio.New(m.lines, m.lines).Info(),
	}})
	for _, s := range append(p.RuleStatus, p.HandlerStatus...) {
		if s.Err != nil {
			m.t.Fatalf("%s: %v", s.Name, s.Err)
		}
	}
	if err := d.Swap(m.t.Context(), p); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mesh) serve(s *Server, d *dispatch.Dispatcher) {
	m.t.Helper()
	g := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			res, err := next(m.called(ctx), req)
			if err != nil {
				return nil, rpc.Status(err).Err()
			}
			return res, nil
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := next(srv, &calledStream{ss, m.called(ss.Context())}); err != nil {
				return rpc.Status(err).Err()
			}
			return nil
		}))
	s.Register(g, d)
	l := bufconn.Listen(1 << 20)
	go func() { _ = g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:mesh", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		m.t.Fatal(err)
	}
	m.conn = conn
	m.t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
	})
}

type calledStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *calledStream) Context() context.Context { return s.ctx }

func section(t *testing.T, a *txtar.Archive, name string) *txtar.File {
	t.Helper()
	for i := range a.Files {
		if a.Files[i].Name == name {
			return &a.Files[i]
		}
	}
	t.Fatalf("archive has no section %q", name)
	return nil
}

// TestTranscripts: documents and calls in, answers and what the adapters did out. A
// section "call <verb> <account>" holds the call in JSON; the verbs are in steps.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %v, %d archives", err, len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m := newMesh(t, section(t, a, "documents.yaml").Data)
			var got strings.Builder
			for _, f := range a.Files {
				words := strings.Fields(f.Name)
				if len(words) != 3 || words[0] != "call" {
					continue
				}
				fmt.Fprintf(&got, "%s\n%s", strings.Join(words[1:], " "), m.step(words[1], words[2], f.Data))
			}
			got.WriteString(m.end())
			want := section(t, a, "want")
			if *update {
				want.Data = []byte(got.String())
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(want.Data), got.String()); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
		})
	}
}

// step makes one call and tells what came of it.
func (m *mesh) step(verb, account string, body []byte) string {
	m.t.Helper()
	steps := map[string]func(context.Context, []byte) (string, error){
		"check": m.check, "report": m.report, "authz": m.authz, "log": m.log,
	}
	f, ok := steps[verb]
	if !ok {
		m.t.Fatalf("verb %q", verb)
	}
	out, err := f(as(m.t.Context(), account), body)
	if err != nil {
		s := status.Convert(err)
		out = fmt.Sprintf("error %v: %s\n", s.Code(), s.Message())
	}
	var b strings.Builder
	for line := range strings.Lines(out + m.lines.String()) {
		b.WriteString("\t" + line)
	}
	m.lines.Reset()
	return b.String()
}

// end tells what the metrics and the status show.
func (m *mesh) end() string {
	m.t.Helper()
	var b strings.Builder
	rec := httptest.NewRecorder()
	m.exporter.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(rec.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString("metric " + line)
		}
	}
	st, err := mixerv1.NewAdminServiceClient(m.conn).GetStatus(m.outgoing(as(m.t.Context(), "admin")), &mixerv1.GetStatusRequest{})
	if err != nil {
		m.t.Fatal(err)
	}
	fmt.Fprintf(&b, "status: config %d, registry %d, checks %d, reports %d\n",
		st.GetConfigRevision(), st.GetRegistryRevision(), st.GetChecks(), st.GetReports())
	for _, r := range st.GetRules() {
		fmt.Fprintf(&b, "rule %s matched %d%s\n", r.GetName(), r.GetMatched(), r.GetError())
	}
	for _, h := range st.GetHandlers() {
		fmt.Fprintf(&b, "handler %s called %d, errors %d%s\n", h.GetName(), h.GetCalls(), h.GetErrors(), h.GetError())
	}
	return b.String()
}

func (m *mesh) decode(body []byte, into any) {
	m.t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		m.t.Fatalf("%s: %v", body, err)
	}
}

func (m *mesh) check(ctx context.Context, body []byte) (string, error) {
	var in struct {
		Count      uint32
		Attributes map[string]any
		Quota      int64
	}
	m.decode(body, &in)
	req := &istiomixerv1.CheckRequest{Attributes: compress(m.t, in.Attributes), GlobalWordCount: in.Count}
	if in.Quota > 0 {
		req.Quotas = map[string]*istiomixerv1.CheckRequest_QuotaParams{"RequestCount": {Amount: in.Quota}}
	}
	res, err := istiomixerv1.NewMixerClient(m.conn).Check(m.outgoing(ctx), req)
	if err != nil {
		return "", err
	}
	p := res.GetPrecondition()
	out := fmt.Sprintf("%d %q for %v, %d uses\n", p.GetStatus().GetCode(), p.GetStatus().GetMessage(), p.GetValidDuration().AsDuration(), p.GetValidUseCount())
	out += "depends on " + strings.Join(references(m.t, p.GetReferencedAttributes()), ", ") + "\n"
	for _, name := range slices.Sorted(maps.Keys(res.GetQuotas())) {
		q := res.GetQuotas()[name]
		out += fmt.Sprintf("quota %s: %d for %v\n", name, q.GetGrantedAmount(), q.GetValidDuration().AsDuration())
	}
	return out, nil
}

func (m *mesh) report(ctx context.Context, body []byte) (string, error) {
	var in struct{ Sets []map[string]any }
	m.decode(body, &in)
	req := &istiomixerv1.ReportRequest{}
	for _, s := range in.Sets {
		req.Attributes = append(req.Attributes, compress(m.t, s))
	}
	_, err := istiomixerv1.NewMixerClient(m.conn).Report(m.outgoing(ctx), req)
	return "taken\n", err
}

func (m *mesh) authz(ctx context.Context, body []byte) (string, error) {
	var in envoyRequest
	m.decode(body, &in)
	res, err := authv3.NewAuthorizationClient(m.conn).Check(m.outgoing(ctx), in.check())
	if err != nil {
		return "", err
	}
	if res.GetOkResponse() != nil {
		return "OK\n", nil
	}
	denied := res.GetDeniedResponse()
	return fmt.Sprintf("%d, HTTP %d %q\n", res.GetStatus().GetCode(), denied.GetStatus().GetCode(), denied.GetBody()), nil
}
