package measure

import (
	"context"
	_ "embed" // the objects
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/bare"
	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/figure"
	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/probe"
	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// objects are the services and rules of the fleet on which requests are measured.
//
//go:embed objects.yaml
var objects []byte

// variant is one way from a client to a server.
type variant struct {
	name   string // of the server's service
	client string // host
	server string // host
	order  probe.Order
	pids   []int // of both proxies

	spent  time.Duration // by both proxies in the run under way
	asked  int           // in the run under way
	slices [2][]float64  // 50th and 99th percentile of each slice of the run under way

	sent, late int // in all runs

	// Of each run, in microseconds. A percentile of a run is the median of its slices':
	// what holds the machine up for a moment then is in one slice and not in the run.
	p50, p99, cpu []float64
}

// Names of the variants; the services of those in the mesh have the same ones.
const (
	plainName    = "plain"
	reportedName = "reported"
	checkedName  = "checked"
)

// variants come in pairs: a way through bare Envoys, and the same through the mesh.
func (b *bench) variants() []*variant {
	order := probe.Order{Rate: b.Rate, Connections: b.Connections, Warmup: b.Warmup, Length: b.Slice}
	var all []*variant
	for _, pair := range []struct {
		way  bare.Way
		name string
	}{{bare.Plain, plainName}, {bare.Recorded, reportedName}, {bare.Checked, checkedName}} {
		order.Host = pair.name
		order.Address = local(pair.way.LocalPort()).String()
		all = append(all, &variant{name: "bare", client: bareClientHost, server: bareServerHost, order: order})
		order.Address = net.JoinHostPort(pair.name, strconv.Itoa(appPort))
		all = append(all, &variant{name: pair.name, client: clientHost, server: pair.name, order: order})
	}
	return all
}

// path measures requests through the mesh and through bare Envoys.
func (b *bench) path(ctx context.Context) ([]figure.Row, error) {
	all := b.variants()
	b.say("starting a mesh of a client and %d servers, and two bare Envoys", len(all)/2)
	cfg := mesh.Config{
		Root: b.Root, Fleet: b.pathFleet([]string{plainName, reportedName, checkedName}), Before: b.writeBare,
	}
	err := b.with(ctx, cfg, func(ctx context.Context, m *mesh.Mesh) error {
		if err := apply(ctx, m, objects); err != nil {
			return err
		}
		if err := warm(ctx, m, all); err != nil {
			return err
		}
		for run := range b.Runs {
			if err := b.pathRun(ctx, m, all, run); err != nil {
				return err
			}
		}
		return proveTLS(ctx, m)
	})
	if err != nil {
		return nil, err
	}
	return b.pathRows(all), nil
}

// warm asks every server until it answers, and finds the proxies on the way.
func warm(ctx context.Context, m *mesh.Mesh, all []*variant) error {
	pids, err := proxies(ctx, m)
	if err != nil {
		return err
	}
	for _, v := range all {
		v.pids = []int{pids[v.client], pids[v.server]}
		order := v.order
		order.Warmup, order.Length = 0, 200*time.Millisecond
		err := until(ctx, 20*time.Second, func(ctx context.Context) error {
			_, err := ask(ctx, m, v.client, order)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s (%s) does not answer: %w", v.order.Address, v.name, err)
		}
	}
	return nil
}

// pathRun measures all variants by turns, a pair at a time; who of a pair is first
// changes from slice to slice.
func (b *bench) pathRun(ctx context.Context, m *mesh.Mesh, all []*variant, run int) error {
	for slice := range b.Slices {
		for i := range all {
			v := all[i^(slice+run)%2]
			if err := v.slice(ctx, m); err != nil {
				return fmt.Errorf("run %d, %s: %w", run+1, v.name, err)
			}
		}
	}
	var told []string
	for _, v := range all {
		v.close()
		told = append(told, fmt.Sprintf("%s %.0f/%.0f/%.0f", v.name, v.p50[run], v.p99[run], v.cpu[run]))
	}
	b.say("requests, run %d of %d: p50/p99/CPU in µs: %s", run+1, b.Runs, strings.Join(told, ", "))
	return nil
}

// slice sends the variant's order once.
func (v *variant) slice(ctx context.Context, m *mesh.Mesh) error {
	before, err := processorTime(v.pids...)
	if err != nil {
		return err
	}
	report, err := ask(ctx, m, v.client, v.order)
	if err != nil {
		return err
	}
	after, err := processorTime(v.pids...)
	if err != nil {
		return err
	}
	v.spent += after - before
	v.sent, v.late = v.sent+len(report.Latencies), v.late+report.Late
	v.asked += int((v.order.Warmup + v.order.Length).Seconds() * float64(v.order.Rate))
	latencies := make([]float64, len(report.Latencies))
	for i, latency := range report.Latencies {
		latencies[i] = float64(latency.Nanoseconds()) / 1e3
	}
	v.slices[0] = append(v.slices[0], figure.Quantile(latencies, 50))
	v.slices[1] = append(v.slices[1], figure.Quantile(latencies, 99))
	return nil
}

// close makes the slices since the last call a run.
func (v *variant) close() {
	v.p50 = append(v.p50, figure.Quantile(v.slices[0], 50))
	v.p99 = append(v.p99, figure.Quantile(v.slices[1], 50))
	v.cpu = append(v.cpu, float64(v.spent.Nanoseconds())/1e3/float64(max(1, v.asked)))
	v.slices, v.spent, v.asked = [2][]float64{}, 0, 0
}

// maxRatio is how much slower than bare Envoys the mesh may be.
const maxRatio = 1.05

// maxLate is how many of 100 requests through the bare Envoys may be sent late. More of
// them mean that something else has the processors, and latencies are of waiting for it.
const maxLate = 1

func (b *bench) doubt(base *variant) string {
	late := 100 * float64(base.late) / float64(max(1, base.sent))
	if late <= maxLate {
		return ""
	}
	return fmt.Sprintf("even to the bare Envoys %.0f of 100 requests were late: the machine is too busy, or too small, for %d/s; see -rate", late, b.Rate)
}

func (b *bench) pathRows(all []*variant) []figure.Row {
	target := figure.Target{MostRatio: maxRatio}
	var rows []figure.Row
	for i := 1; i < len(all); i += 2 {
		against, v := all[i-1], all[i]
		doubt := b.doubt(against)
		what := fmt.Sprintf("mTLS, two sidecars, %d/s", b.Rate)
		if i > 1 {
			what = v.name + " by a rule"
		}
		rows = append(rows,
			figure.Row{Goal: what + ", p50", Unit: figure.Microseconds, Measured: v.p50, Baseline: against.p50, Target: target, Doubt: doubt},
			figure.Row{Goal: what + ", p99", Unit: figure.Microseconds, Measured: v.p99, Baseline: against.p99, Target: target, Doubt: doubt},
			figure.Row{Goal: what + ", CPU", Unit: figure.Microseconds, Measured: v.cpu, Baseline: against.cpu})
	}
	return rows
}

// proveTLS makes sure that what was measured went through mutual TLS on both ways.
func proveTLS(ctx context.Context, m *mesh.Mesh) error {
	const handshakes = `^listener\..*\.ssl\.handshake$`
	for _, name := range []string{plainName, reportedName, checkedName} {
		n, err := m.Envoy(name).Sum(ctx, handshakes)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("the sidecar of %s has seen no TLS handshake: requests went another way", name)
		}
	}
	door, err := m.Door(bareServerHost)
	if err != nil {
		return err
	}
	answer, err := door.Get(ctx, "http://"+local(bare.AdminPort).String()+"/stats?usedonly&filter=ssl.handshake")
	if err != nil {
		return err
	}
	if !strings.Contains(answer.Body, "ssl.handshake: ") {
		return fmt.Errorf("the bare Envoy has seen no TLS handshake: %s", answer.Body)
	}
	return nil
}
