package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// How often the application is asked: often until it is there, and again soon when it
// left a question without an answer.
const (
	probeDown    = 200 * time.Millisecond
	probeIll     = time.Second // it accepts connections, and is not well
	probeUp      = 2 * time.Second
	probeTimeout = time.Second
)

// application is what the workload serves, as seen from loopback.
type application struct {
	ports  []Port
	health string // path that is asked on the first port, "" for none
	log    *slog.Logger
	dial   func(ctx context.Context, network, address string) (net.Conn, error)

	silent  bool                   // the last question had no answer in time; ask's alone
	waiting atomic.Pointer[string] // nil while that is not known
}

func newApplication(c Config, log *slog.Logger) *application {
	d := net.Dialer{Timeout: probeTimeout}
	return &application{ports: c.Ports, health: c.Health, log: log, dial: d.DialContext}
}

// state returns what the application lacks, "" if it is well, and whether that is known
// yet. Safe for concurrent use.
func (a *application) state() (waiting string, known bool) {
	if w := a.waiting.Load(); w != nil {
		return *w, true
	}
	return "application: it was not asked yet", false
}

var (
	errClosed = errors.New("application: it does not accept connections on its ports")
	errSilent = errors.New("application: it accepts connections and does not answer in time")
)

// ask asks the application, and returns when to do so again. Only one goroutine may.
func (a *application) ask(ctx context.Context) time.Duration {
	err := a.probe(ctx)
	if ctx.Err() != nil {
		return 0 // it was us who gave up
	}
	was, known := a.state()
	silent := errors.Is(err, errSilent)
	first := silent && !a.silent
	a.silent = silent
	if first && (!known || was == "") {
		return probeDown // one answer that is late is no news: the machine may be busy
	}
	now, pause := "", probeUp
	switch {
	case errors.Is(err, errClosed):
		now, pause = err.Error(), probeDown
	case err != nil:
		now, pause = err.Error(), probeIll
	}
	if !known || (was == "") != (now == "") {
		a.log.Info("application", "ready", now == "", "waiting_for", now)
	}
	a.waiting.Store(&now)
	return pause
}

// probe returns what the application lacks, nil if it is well. The kernel accepts for a
// process that is stopped: that one is silent.
func (a *application) probe(ctx context.Context) error {
	for i, p := range a.ports {
		address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p.Number).String()
		conn, err := a.dial(ctx, "tcp", address)
		if err != nil {
			return errClosed
		}
		if i == 0 && a.health != "" {
			err = a.well(ctx, conn, address)
		}
		_ = conn.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// maxAnswer bounds what is read of an answer about health.
const maxAnswer = 16 << 10

// well asks on conn for the path of health.
func (a *application) well(ctx context.Context, conn net.Conn, host string) error {
	if err := conn.SetDeadline(time.Now().Add(probeTimeout)); err != nil {
		return errClosed // without a deadline it would not be asked
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_, err := io.WriteString(conn, "GET "+a.health+" HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: sidecar-agent\r\nConnection: close\r\n\r\n")
	var res *http.Response
	answer := bufio.NewReader(io.LimitReader(conn, maxAnswer))
	for err == nil && (res == nil || interim(res.StatusCode)) {
		res, err = http.ReadResponse(answer, nil)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSilent
	case err != nil: // which may quote what came, and that may be anything
		return fmt.Errorf("application: it does not answer GET %s by HTTP", a.health)
	}
	defer res.Body.Close()
	// The status says it all; who sends more shall not find the connection broken.
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("application: it answers GET %s with status %d", a.health, res.StatusCode)
	}
	return nil
}

// interim reports whether a status says that the answer is to come (RFC 9110, 15.2).
func interim(status int) bool {
	return status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
}

// isPath reports whether text can stand in a request as it is.
func isPath(text string) bool {
	u, err := url.ParseRequestURI(text)
	return err == nil && len(text) <= maxPath && text[0] == '/' && u.RequestURI() == text &&
		!strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' })
}

const maxPath = 1 << 10
