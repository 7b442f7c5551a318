package envoy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Admin asks one Envoy's admin socket. Each call opens a connection of its own and
// ends within 5 s, or ctx's deadline if that is sooner. Safe for concurrent use.
type Admin struct{ path string }

// NewAdmin returns a client of the socket at path; nothing is opened yet.
func NewAdmin(path string) *Admin { return &Admin{path} }

// Info is what Envoy says of itself.
type Info struct {
	State   string // "LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"
	Version string // "1.40.0"
	NodeID  string
}

// Info asks /server_info.
func (a *Admin) Info(ctx context.Context) (Info, error) {
	var doc struct {
		State   string `json:"state"`
		Version string `json:"version"` // commit/version/status/type/ssl
		Node    struct {
			ID string `json:"id"`
		} `json:"node"`
	}
	if err := a.document(ctx, "/server_info", &doc); err != nil {
		return Info{}, err
	}
	info := Info{State: doc.State, NodeID: doc.Node.ID}
	if parts := strings.Split(doc.Version, "/"); len(parts) > 1 {
		info.Version = parts[1]
	}
	return info, nil
}

// Live asks /ready whether Envoy is LIVE: the smallest question there is.
func (a *Admin) Live(ctx context.Context) (bool, error) {
	live := false
	err := a.get(ctx, "/ready", func(body io.Reader) error {
		word, err := io.ReadAll(io.LimitReader(body, maxWord))
		live = strings.TrimSpace(string(word)) == "LIVE"
		return err // get says of what
	})
	return live, err
}

// Listener is one that accepts connections.
type Listener struct {
	Name    string
	Address netip.AddrPort
}

// Listeners asks for the active listeners; those of pipes are left out.
func (a *Admin) Listeners(ctx context.Context) ([]Listener, error) {
	var doc struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := a.document(ctx, "/listeners?format=json", &doc); err != nil {
		return nil, err
	}
	var out []Listener
	for _, s := range doc.Statuses {
		addr, err := netip.ParseAddr(s.Local.Socket.Address)
		if err == nil {
			out = append(out, Listener{s.Name, netip.AddrPortFrom(addr, s.Local.Socket.Port)})
		}
	}
	return out, nil
}

// LoadedCertificate is one that a TLS context of Envoy holds.
type LoadedCertificate struct {
	Serial   string // hexadecimal, lower case, without leading zeros
	URIs     []string
	NotAfter time.Time
}

// Certificates asks for the chains that are loaded, each serial once.
func (a *Admin) Certificates(ctx context.Context) ([]LoadedCertificate, error) {
	var out []LoadedCertificate
	seen := map[string]bool{}
	err := a.get(ctx, "/certs", func(body io.Reader) error {
		return eachChain(json.NewDecoder(body), func(c LoadedCertificate) {
			if !seen[c.Serial] {
				seen[c.Serial] = true
				out = append(out, c)
			}
		})
	})
	return out, err
}

// eachChain reads /certs element by element: a proxy with a thousand clusters lists the
// same certificate a thousand times.
func eachChain(d *json.Decoder, f func(LoadedCertificate)) error {
	for range 3 { // { "certificates" [
		if _, err := d.Token(); err != nil {
			return err // get says of what
		}
	}
	for d.More() {
		var entry struct {
			Chain []struct {
				Serial string `json:"serial_number"`
				SANs   []struct {
					URI string `json:"uri"`
				} `json:"subject_alt_names"`
				Expires time.Time `json:"expiration_time"`
			} `json:"cert_chain"`
		}
		if err := d.Decode(&entry); err != nil {
			return err // get says of what
		}
		for _, c := range entry.Chain {
			loaded := LoadedCertificate{Serial: strings.TrimLeft(strings.ToLower(c.Serial), "0"), NotAfter: c.Expires}
			for _, san := range c.SANs {
				loaded.URIs = append(loaded.URIs, san.URI)
			}
			f(loaded)
		}
	}
	return nil
}

// Stats returns the stats whose whole name matches a regular expression, as text.
func (a *Admin) Stats(ctx context.Context, pattern string) (map[string]string, error) {
	out := map[string]string{}
	err := a.get(ctx, "/stats?filter="+url.QueryEscape("^("+pattern+")$"), func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		for lines.Scan() {
			if name, v, ok := strings.Cut(lines.Text(), ": "); ok {
				out[name] = strings.Trim(v, `"`)
			}
		}
		return lines.Err() // get says of what
	})
	return out, err
}

// Connections returns how many connections the listeners have open, that of admin
// apart.
func (a *Admin) Connections(ctx context.Context) (int, error) {
	stats, err := a.Stats(ctx, `listener\..*\.downstream_cx_active`)
	if err != nil {
		return 0, err
	}
	sum := 0
	for name, v := range stats {
		if strings.HasPrefix(name, "listener.admin.") || strings.Contains(name, ".worker_") {
			continue // our own, and the same ones by thread
		}
		n, err := strconv.Atoi(v)
		if err != nil {
			return 0, fmt.Errorf("Envoy's stat %s: %w", name, err)
		}
		sum += n
	}
	return sum, nil
}

// Drain makes health checks fail and the listeners finish what they have, gracefully:
// they close when Envoy's drain time is over.
func (a *Admin) Drain(ctx context.Context) error {
	for _, path := range []string{"/healthcheck/fail", "/drain_listeners?graceful"} {
		err := a.do(ctx, http.MethodPost, path, func(net.Conn, io.Reader) error { return nil })
		if err != nil {
			return err
		}
	}
	return nil
}

// Process returns the id of the process that listens on the socket.
func (a *Admin) Process(ctx context.Context) (int, error) {
	pid := 0
	err := a.do(ctx, http.MethodGet, "/ready", func(c net.Conn, _ io.Reader) error {
		raw, err := c.(*net.UnixConn).SyscallConn()
		if err != nil {
			return err // do says of what
		}
		var cred *syscall.Ucred
		var credErr error
		err = raw.Control(func(fd uintptr) {
			cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		})
		if err := errors.Join(err, credErr); err != nil {
			return err
		}
		pid = int(cred.Pid)
		return nil
	})
	return pid, err
}

const (
	adminTimeout = 5 * time.Second
	maxWord      = 64       // /ready
	maxDocument  = 1 << 20  // /server_info and /listeners
	maxBody      = 64 << 20 // /certs and /stats, read as a stream
)

func (a *Admin) document(ctx context.Context, path string, to any) error {
	return a.get(ctx, path, func(body io.Reader) error {
		return json.NewDecoder(io.LimitReader(body, maxDocument)).Decode(to)
	})
}

func (a *Admin) get(ctx context.Context, path string, read func(io.Reader) error) error {
	return a.do(ctx, http.MethodGet, path, func(_ net.Conn, body io.Reader) error { return read(body) })
}

// do makes one request by hand: http.Transport keeps goroutines and connections that
// a process which asks once in a while has no use for.
func (a *Admin) do(ctx context.Context, method, path string, read func(net.Conn, io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	err := a.exchange(ctx, method, path, read)
	if err != nil {
		return fmt.Errorf("Envoy's admin %s: %w", strings.SplitN(path, "?", 2)[0], err)
	}
	return nil
}

func (a *Admin) exchange(ctx context.Context, method, path string, read func(net.Conn, io.Reader) error) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", a.path)
	if err != nil {
		return err // do says of what
	}
	defer conn.Close() // nothing is lost
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, method+" "+path+" HTTP/1.1\r\nHost: envoy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); err != nil {
		return err // do says of what
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err // do says of what
	}
	defer res.Body.Close()
	// /ready answers 503 while Envoy is not LIVE, which is an answer as good as any.
	if res.StatusCode != http.StatusOK && path != "/ready" {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return read(conn, io.LimitReader(res.Body, maxBody))
}
