package measure

import (
	"context"
	_ "embed" // the objects
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/awake"
	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/bare"
	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/figure"
	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/holdup"
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

	slices []slice // of the run under way

	sent, late  int // requests in all runs
	taken, held int // slices in all runs, and those of them that were held up

	// Of each run, in microseconds; percentiles are those of all its requests.
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
		rest, err := awake.Keep()
		if err != nil {
			return err
		}
		for run := 0; run < b.Runs && err == nil; run++ {
			err = b.pathRun(ctx, m, all, run)
		}
		if err = errors.Join(err, rest()); err != nil {
			return err
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
	for n := range b.Slices {
		for i := range all {
			v := all[i^(n+run)%2]
			if err := b.quietSlice(ctx, m, v); err != nil {
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

// quietSlice adds a slice to the run under way: the first that was not held up, or any
// when Patience has ended.
func (b *bench) quietSlice(ctx context.Context, m *mesh.Mesh, v *variant) error {
	for {
		s, err := b.slice(ctx, m, v)
		if err != nil {
			return err
		}
		if s.heldUp() && time.Since(b.started) < b.Patience {
			b.tellHeld(s)
			continue
		}
		v.take(s)
		return nil
	}
}

// tellHeld says every now and then that slices are measured again.
func (b *bench) tellHeld(s slice) {
	if now := time.Now(); now.Sub(b.told) > 30*time.Second {
		b.told = now
		b.say("the machine was held up for %v of %v: measuring again", s.away.Round(time.Millisecond), s.length)
	}
}

// slice is what was seen while a variant's order was carried out once.
type slice struct {
	latencies    []float64     // of the requests that were measured, in microseconds
	late         int           // of them, those that were sent late
	asked        int           // requests, with those of the warm-up
	spent        time.Duration // by both proxies
	length, away time.Duration // how long it was, and for how much of it a processor was not there
}

// mostAway is the share of a slice's length for which a processor may not be there: with
// more, its slowest requests are those that waited for that.
const mostAway = 0.01

func (s slice) heldUp() bool { return float64(s.away) > mostAway*float64(s.length) }

// slice sends the variant's order once.
func (b *bench) slice(ctx context.Context, m *mesh.Mesh, v *variant) (slice, error) {
	before, err := processorTime(v.pids...)
	if err != nil {
		return slice{}, err
	}
	watch, err := b.watch()
	if err != nil {
		return slice{}, err
	}
	report, err := ask(ctx, m, v.client, v.order)
	away := watch.Stop()
	if err != nil {
		return slice{}, err
	}
	after, err := processorTime(v.pids...)
	if err != nil {
		return slice{}, err
	}
	latencies := make([]float64, len(report.Latencies))
	for i, latency := range report.Latencies {
		latencies[i] = float64(latency.Nanoseconds()) / 1e3
	}
	return slice{
		latencies: latencies, late: report.Late,
		asked: int((v.order.Warmup + v.order.Length).Seconds() * float64(v.order.Rate)),
		spent: after - before, length: v.order.Warmup + v.order.Length, away: away,
	}, nil
}

// watch looks for hold-ups, if it may.
func (b *bench) watch() (*holdup.Watcher, error) {
	w, err := holdup.Watch()
	if errors.Is(err, fs.ErrPermission) {
		b.blind = true
		return holdup.Blind(), nil
	}
	return w, err
}

// take adds a slice to the run under way.
func (v *variant) take(s slice) {
	v.slices = append(v.slices, s)
	v.sent, v.late, v.taken = v.sent+len(s.latencies), v.late+s.late, v.taken+1
	if s.heldUp() {
		v.held++
	}
}

// close makes the slices since the last call a run.
func (v *variant) close() {
	var latencies []float64
	var spent time.Duration
	var asked int
	for _, s := range v.slices {
		latencies = append(latencies, s.latencies...)
		spent, asked = spent+s.spent, asked+s.asked
	}
	v.p50 = append(v.p50, figure.Quantile(latencies, 50))
	v.p99 = append(v.p99, figure.Quantile(latencies, 99))
	v.cpu = append(v.cpu, float64(spent.Nanoseconds())/1e3/float64(max(1, asked)))
	v.slices = nil
}

// maxRatio is how much slower than bare Envoys the mesh may be.
const maxRatio = 1.05

// maxLate is how many of 100 requests through the bare Envoys may be sent late. More of
// them mean that something else has the processors, and latencies are of waiting for it.
const maxLate = 1

// doubt says why the ratio of a pair does not show what it should; empty if it does.
func (b *bench) doubt(base, v *variant) string {
	late := 100 * float64(base.late) / float64(max(1, base.sent))
	switch held := base.held + v.held; {
	case b.blind:
		return "whether the machine was held up was not seen: that takes the right to set real-time priorities (root)"
	case held > 0:
		return fmt.Sprintf("%s: the machine was held up in %d of %d slices, for more than %.0f of 100 of their time; see -patience", v.name, held, base.taken+v.taken, 100*mostAway)
	case late > maxLate:
		return fmt.Sprintf("even to the bare Envoys %.0f of 100 requests were late: the machine is too busy, or too small, for %d/s; see -rate", late, b.Rate)
	}
	return ""
}

func (b *bench) pathRows(all []*variant) []figure.Row {
	target := figure.Target{MostRatio: maxRatio}
	var rows []figure.Row
	for i := 1; i < len(all); i += 2 {
		against, v := all[i-1], all[i]
		doubt := b.doubt(against, v)
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
