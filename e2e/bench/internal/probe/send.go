package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/sleep"
)

// Sender carries out one order at a time.
type Sender struct {
	mu sync.Mutex // held while an order is carried out
}

// ServeHTTP takes an Order and answers with its Report when it is done.
func (s *Sender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var order Order
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&order); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("order: %w", err))
		return
	}
	if err := order.check(); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	if !s.mu.TryLock() {
		refuse(w, http.StatusConflict, fmt.Errorf("another order is being carried out"))
		return
	}
	defer s.mu.Unlock()
	report, err := Send(r.Context(), order)
	if err != nil {
		refuse(w, http.StatusBadGateway, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(report); err != nil {
		_, _ = io.WriteString(w, err.Error()) // whoever asked is gone
	}
}

// Send carries out an order. That requests fail is no error: it is in the report.
func Send(ctx context.Context, o Order) (Report, error) {
	if err := o.check(); err != nil {
		return Report{}, err
	}
	to, err := resolve(ctx, o.Address)
	if err != nil {
		return Report{}, err
	}
	// Each connection has a thread, which may not have to wait for a turn; and rubbish
	// is collected before and after, not meanwhile.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(o.Connections + 2))
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	host := o.Host
	if host == "" {
		host = o.Address
	}
	lanes := make([]*lane, o.Connections)
	begin := time.Now().Add(settle)
	var done sync.WaitGroup
	for i := range lanes {
		lanes[i] = newLane(o, i, begin, newConnection(to, host))
		done.Go(func() { lanes[i].run(ctx) })
	}
	done.Wait()
	var report Report
	for _, l := range lanes {
		report.Latencies = append(report.Latencies, l.latencies...)
		report.Failed += l.failed
		report.Late += l.late
		if report.First == "" && l.first != nil {
			report.First = l.first.Error()
		}
	}
	return report, ctx.Err()
}

// settle is how long the lanes have to open their connections before the first request.
const settle = 50 * time.Millisecond

func resolve(ctx context.Context, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("order: %w", err)
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("order: %w", err)
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("order: %w", err)
	}
	return netip.AddrPortFrom(found[0].Unmap(), uint16(number)), nil
}

// lane is one connection with the moments at which its requests are due.
type lane struct {
	conn      *connection
	first     error
	due       time.Time
	every     time.Duration
	measure   time.Time // requests due from here on are measured
	end       time.Time
	failed    int
	late      int
	latencies []time.Duration
}

// newLane returns the i-th one: all have the same rate, one begins after the other.
func newLane(o Order, i int, begin time.Time, conn *connection) *lane {
	every := time.Duration(float64(o.Connections) / float64(o.Rate) * float64(time.Second))
	measure := begin.Add(o.Warmup)
	return &lane{
		conn: conn, due: begin.Add(every * time.Duration(i) / time.Duration(o.Connections)), every: every,
		measure: measure, end: measure.Add(o.Length),
		latencies: slices.Grow([]time.Duration(nil), int(o.Length/every)+1),
	}
}

func (l *lane) run(ctx context.Context) {
	runtime.LockOSThread() // never unlocked: the thread ends with the lane, and so does its setting
	defer l.conn.close()
	// By default the kernel may wake a thread up to 50 µs late.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		l.fail(fmt.Errorf("timer slack: %w", err))
		return
	}
	if err := l.conn.open(); err != nil {
		l.fail(err)
	}
	for ; l.due.Before(l.end) && ctx.Err() == nil; l.due = l.due.Add(l.every) {
		from := l.due
		if wait := time.Until(l.due); wait > 0 {
			sleep.For(wait)
			from = time.Now() // being woken late is not the target's doing
		} else {
			l.late++
		}
		if err := l.conn.ask(); err != nil {
			l.fail(err)
		} else if !l.due.Before(l.measure) {
			l.latencies = append(l.latencies, time.Since(from))
		}
	}
}

func (l *lane) fail(err error) {
	l.failed++
	if l.first == nil {
		l.first = err
	}
}
