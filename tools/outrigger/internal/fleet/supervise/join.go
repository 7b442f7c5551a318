package supervise

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/peer"
)

// joiner hands processes the proofs by which they get their first certificate.
//
// The protocol, on a stream socket that the process inherits as the descriptor
// named by OUTRIGGER_JOIN_FD: the supervisor writes one line, a JSON document
// {"token": …, "id": …, "bundle": …} with a token that is good once, for this
// SPIFFE ID and for tokenLife, and the PEM of the certificates to trust. It
// writes the first line unasked, as soon as the authority has answered, which
// may be long after the process began: a process with a valid certificate need
// not wait for it. A process that needs another writes the line "?" and gets
// another document; what it sends while one is being made is one request.
// Either side may close the socket at any time; any other line closes it too.
type joiner struct {
	authority fleet.Authority
	client    *http.Client
}

const (
	tokenLife    = "300s"
	mintTimeout  = time.Second
	mintPause    = 100 * time.Millisecond
	joinTimeout  = 10 * time.Second // for a process to take its document
	maxAuthority = 1 << 20          // bytes of an answer
)

// proof is the document that a process gets. It is a secret.
type proof struct {
	Token  string `json:"token"`
	ID     string `json:"id"`
	Bundle string `json:"bundle"`
}

func newJoiner(authority fleet.Authority) *joiner {
	j := &joiner{authority: authority}
	j.client = &http.Client{
		Timeout:   mintTimeout,
		Transport: &http.Transport{DialContext: j.dial, DisableKeepAlives: true, Proxy: nil},
	}
	return j
}

// dial connects to the authority and makes sure that it is the authority: the
// run folder is shared by services.
func (j *joiner) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", j.authority.Socket)
	if err != nil {
		return nil, err
	}
	uid, err := peer.UID(conn)
	if err == nil && uid != j.authority.UID {
		err = fmt.Errorf("uid %d answers at %s, want %d", uid, j.authority.Socket, j.authority.UID)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// serve hands out proofs for id until the process closes its end or ctx ends.
func (j *joiner) serve(ctx context.Context, conn net.Conn, id string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()

	wanted := make(chan struct{}, 1) // requests merge
	wanted <- struct{}{}
	go func() {
		defer cancel()
		readRequests(conn, wanted)
	}()
	for {
		select {
		case <-wanted:
		case <-ctx.Done():
			return
		}
		document, err := j.obtain(ctx, id)
		if err != nil {
			return
		}
		if err := conn.SetWriteDeadline(time.Now().Add(joinTimeout)); err != nil {
			return
		}
		if _, err := conn.Write(document); err != nil {
			return
		}
	}
}

// readRequests reports each line "?" until the other end is closed or says
// anything else.
func readRequests(conn net.Conn, wanted chan<- struct{}) {
	lines := bufio.NewReaderSize(conn, 16)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil || string(line) != "?\n" {
			return
		}
		select {
		case wanted <- struct{}{}:
		default:
		}
	}
}

// obtain asks the authority until it has answered.
func (j *joiner) obtain(ctx context.Context, id string) ([]byte, error) {
	for {
		document, err := j.mint(ctx, id)
		if err == nil {
			return document, nil
		}
		select {
		case <-time.After(mintPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (j *joiner) mint(ctx context.Context, id string) ([]byte, error) {
	var token struct {
		Token string `json:"token"`
	}
	if err := j.call(ctx, http.MethodPost, "/v1/jointokens", map[string]string{"id": id, "ttl": tokenLife}, &token); err != nil {
		return nil, err
	}
	var bundle struct {
		PEM string `json:"bundlePem"`
	}
	if err := j.call(ctx, http.MethodGet, "/v1/bundle", nil, &bundle); err != nil {
		return nil, err
	}
	if token.Token == "" || bundle.PEM == "" {
		return nil, errors.New("the authority answered without a token or without a bundle")
	}
	document, err := json.Marshal(proof{Token: token.Token, ID: id, Bundle: bundle.PEM})
	return append(document, '\n'), err
}

func (j *joiner) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://authority"+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := j.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", path, response.StatusCode)
	}
	return json.NewDecoder(io.LimitReader(response.Body, maxAuthority)).Decode(out)
}
