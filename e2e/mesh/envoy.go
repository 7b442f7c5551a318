package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Envoy is the admin socket of one proxy.
type Envoy struct {
	path   string
	client *http.Client
	err    error // why there is none
}

// adminLimit bounds one request to an admin socket.
const adminLimit = 10 * time.Second

// Envoy is the proxy of a host, or of a gateway: "ingress", "egress". That there is
// none shows at its first use.
func (m *Mesh) Envoy(name string) *Envoy { return m.admin(name) }

func (m *Mesh) admin(name string) *Envoy {
	e := &Envoy{}
	e.path, e.err = m.findSocket(name, "admin.sock")
	e.client = socketClient(e.path, adminLimit)
	return e
}

// findSocket looks through the folders of a host or service.
func (m *Mesh) findSocket(name, socket string) (string, error) {
	for _, folder := range []string{filepath.Join(m.State, name), filepath.Join(m.State, "hosts", name)} {
		found := ""
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == socket {
				found = path
				return fs.SkipAll
			}
			return err
		})
		if found != "" {
			return found, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for %s of %s: %w", socket, name, err)
		}
	}
	return "", fmt.Errorf("%s has no %s in its state folder", name, socket)
}

// AdminSocket is the path of the socket.
func (e *Envoy) AdminSocket() (string, error) { return e.path, e.err }

// Get asks for a page of the admin interface.
func (e *Envoy) Get(ctx context.Context, path string) (string, error) {
	if e.err != nil {
		return "", e.err
	}
	answer, err := fetch(ctx, e.client, http.MethodGet, "http://envoy"+path, nil)
	if err != nil {
		return "", err
	}
	if answer.Status != http.StatusOK {
		return "", fmt.Errorf("Envoy's admin %s: status %d: %s", path, answer.Status, answer.Body)
	}
	return answer.Body, nil
}

// SetRuntime changes one value that Envoy looks up while it runs; "" takes the change
// back.
func (e *Envoy) SetRuntime(ctx context.Context, key, value string) error {
	if e.err != nil {
		return e.err
	}
	answer, err := fetch(ctx, e.client, http.MethodPost, "http://envoy/runtime_modify?"+key+"="+queryEscape(value), nil)
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("Envoy's runtime value %s: status %d: %s", key, answer.Status, answer.Body)
	}
	return err
}

// Stats returns the counters and gauges whose names match a regular expression.
func (e *Envoy) Stats(ctx context.Context, filter string) (map[string]int, error) {
	text, err := e.Get(ctx, "/stats?filter="+queryEscape(filter))
	if err != nil {
		return nil, err
	}
	stats := map[string]int{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.Atoi(value); err == nil {
			stats[name] = n
		}
	}
	return stats, nil
}

// Sum adds up the stats that match a regular expression.
func (e *Envoy) Sum(ctx context.Context, filter string) (int, error) {
	stats, err := e.Stats(ctx, filter)
	sum := 0
	for _, n := range stats {
		sum += n
	}
	return sum, err
}

// State is what Envoy says of itself: "LIVE" when it serves.
func (e *Envoy) State(ctx context.Context) (string, error) {
	text, err := e.Get(ctx, "/server_info")
	if err != nil {
		return "", err
	}
	var info struct {
		State string `json:"state"`
	}
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		return "", fmt.Errorf("Envoy's server_info: %w", err)
	}
	return info.State, nil
}

// pid asks the kernel who listens at the socket.
func (e *Envoy) pid(ctx context.Context) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", e.path)
	if err != nil {
		return 0, fmt.Errorf("Envoy's admin socket: %w", err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("Envoy's admin socket: %w", err)
	}
	var peer *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, asked); err != nil {
		return 0, fmt.Errorf("Envoy's process: %w", err)
	}
	return int(peer.Pid), nil
}
