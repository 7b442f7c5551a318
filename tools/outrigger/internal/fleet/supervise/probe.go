package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/netns"
)

const (
	probeTimeout = time.Second
	maxReason    = 1000 // bytes of what an unready process says
)

// prober finds out whether processes are ready, each from inside its own network.
type prober struct {
	runFolder string
	places    map[string]place
}

// Probe returns nil when the process is ready, else why it is not.
func (b *prober) Probe(ctx context.Context, p fleet.Process) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	space := b.places[p.Host].space
	switch r := p.Ready; {
	case r.Socket != "":
		socket := filepath.Join(b.runFolder, r.Socket)
		return ask(ctx, "http://"+p.Name+r.Path, func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", socket)
		})
	case r.URL != "":
		return ask(ctx, r.URL, within(space))
	case r.TCP != "":
		conn, err := within(space)(ctx, "tcp", r.TCP)
		if err != nil {
			return fmt.Errorf("nothing answers at %s yet", r.TCP)
		}
		return conn.Close()
	default:
		return nil
	}
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// within dials from another network namespace.
func within(space *netns.Space) dialFunc {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = space.Do(func() error {
			var dialer net.Dialer
			conn, err = dialer.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}

// ask expects status 200 at an address; the text of any other answer is the
// reason.
func ask(ctx context.Context, url string, dial dialFunc) error {
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, Proxy: nil}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return errors.New("does not answer yet")
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReason))
	if err != nil {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return errors.New(reason(response.StatusCode, body))
}

// reason is what an unready process waits for, if it says so as our services do,
// else its words.
func reason(status int, body []byte) string {
	var said struct {
		WaitingFor string `json:"waitingFor"`
	}
	if err := json.Unmarshal(body, &said); err == nil && said.WaitingFor != "" {
		if why, is := strings.CutPrefix(said.WaitingFor, "nothing: "); is {
			return oneLine(why) // it will not be ready, as when it drains
		}
		return "waits for " + oneLine(said.WaitingFor)
	}
	return fmt.Sprintf("status %d: %s", status, oneLine(string(body)))
}

// oneLine makes text safe to show in a table.
func oneLine(text string) string {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == ' ' || r == 0x7f || r == '\u009b' })
	return strings.Join(fields, " ")
}
