package e2e

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// secondUID is an ordinary user of the machine who has nothing to do with the mesh.
const secondUID = 54321

// TestSecondUserRefused: who is not meant to cannot: another local user, an application
// in the mesh, a stolen token, mixer's certificate where config is written.
func TestSecondUserRefused(t *testing.T) {
	s := common(t)
	t.Run("Unix sockets", s.testSecondSockets)
	t.Run("sockets that could be opened", s.testSecondPeer)
	t.Run("published ports", s.testSecondPorts)
	t.Run("state folder", s.testSecondFiles)
	t.Run("an application calls the control plane", s.testApplicationRefused)
	t.Run("an application and other processes", s.testApplicationsApart)
	t.Run("join tokens", s.testTokens)
	t.Run("the bus", s.testBusRights)
}

// sockets lists every Unix socket of the mesh.
func (s *site) sockets(t *testing.T) []string {
	t.Helper()
	var found []string
	check(t, filepath.WalkDir(s.State, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSocket != 0 && d.Name() != collectorSocket {
			found = append(found, path)
		}
		return err
	}))
	if len(found) < 15 {
		t.Fatalf("the mesh has only these sockets, so that this test proves little: %v", found)
	}
	return found
}

func secondUser(t *testing.T) *mesh.Door {
	t.Helper()
	door := must(mesh.UserDoor(secondUID))(t)
	t.Cleanup(func() { door.Close() })
	return door
}

func (s *site) testSecondSockets(t *testing.T) {
	door := secondUser(t)
	for _, path := range s.sockets(t) {
		conn, err := door.Dial(t.Context(), "unix", path)
		if err == nil {
			conn.Close()
			t.Errorf("another user can open %s", path)
			continue
		}
		if !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: want permission denied, got %v", path, err)
		}
	}
}

// testSecondPeer opens the way to the services' sockets as a careless chmod would: then
// the peer's user is still looked at.
func (s *site) testSecondPeer(t *testing.T) {
	run := filepath.Join(s.State, "run")
	open := []string{run, s.Socket("pilot", "rest"), s.Socket("pilot", "grpc"), s.Socket("citadel-ca", "rest"), filepath.Join(run, "fleet.sock")}
	for _, path := range open {
		mode := must(os.Stat(path))(t).Mode()
		check(t, os.Chmod(path, 0o777))
		t.Cleanup(func() { check(t, os.Chmod(path, mode)) })
	}
	door := secondUser(t)
	for _, path := range open[1:] {
		answer, err := talk(t.Context(), door, path)
		if err == nil && !strings.Contains(answer, "403") && !strings.Contains(answer, "401") && !strings.Contains(answer, `"error"`) {
			t.Errorf("%s answers another user: %s", path, brief(answer))
		}
	}
	own := must(s.REST(t.Context(), "pilot", http.MethodGet, "/v1/status", nil))(t)
	if own.Status != http.StatusOK {
		t.Errorf("and its own user it refuses: %d %s", own.Status, own.Body)
	}
}

// talk asks for something at a Unix socket, in whatever protocol is spoken there, and
// returns the first line of the answer.
func talk(ctx context.Context, door *mesh.Door, path string) (string, error) {
	conn, err := door.Dial(ctx, "unix", path)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	ask := "GET /v1/status HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n"
	switch {
	case strings.HasSuffix(path, ".grpc.sock"):
		ask = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	case strings.HasSuffix(path, "fleet.sock"):
		ask = `{"op":"status"}` + "\n"
	}
	if _, err := io.WriteString(conn, ask); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if line == "" {
		return "", errors.Join(err, errors.New("no answer"))
	}
	return line, nil
}

// openPorts are the published ports that are for everybody on the machine.
var openPorts = map[string]bool{"ingress": true, "metrics": true}

func (s *site) testSecondPorts(t *testing.T) {
	door := secondUser(t)
	for name, address := range must(s.Snapshot())(t).Published {
		if openPorts[name] {
			continue
		}
		if answer, err := door.Get(t.Context(), "http://"+address+"/v1/status"); err == nil && answer.Status == http.StatusOK {
			t.Errorf("%s at %s answers anybody: %s", name, address, brief(answer.Body))
		}
		for _, path := range []string{"/v1/status", "/v1/objects", "/v1/registry"} {
			if _, err := knock(t.Context(), door, address, path, clientTLS(nil)); err == nil {
				t.Errorf("%s at %s answers %s to who shows no certificate", name, address, path)
			}
		}
		foreign := must(mesh.Foreign(mesh.AccountID("outrigger-system", "admin")))(t)
		if _, err := knock(t.Context(), door, address, "/v1/status", clientTLS(&foreign)); err == nil {
			t.Errorf("%s at %s believes a certificate of another root", name, address)
		}
	}
}

// testSecondFiles looks for secrets that another user could read.
func (s *site) testSecondFiles(t *testing.T) {
	check(t, filepath.WalkDir(s.State, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil // it went away
		}
		if info.Mode().Perm()&0o077 == 0 {
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), "PRIVATE KEY") {
			t.Errorf("%s holds a private key and has mode %v", path, info.Mode())
		}
		return nil
	}))
}

func (s *site) testApplicationRefused(t *testing.T) {
	door := must(s.Door("details-v1"))(t)
	workload := must(s.Identity(t.Context(), mesh.AccountID("default", "bookinfo-details")))(t)
	for _, c := range []struct {
		port, path string
		id         *mesh.Identity
	}{
		{"15011", "/v1/objects", nil}, {"15011", "/v1/objects", &workload}, {"15011", "/v1/status", &workload},
		{"15021", "/v1/status", nil}, {"15021", "/v1/status", &workload}, {"15031", "/v1/status", &workload},
	} {
		if _, err := knock(t.Context(), door, "10.77.0.1:"+c.port, c.path, clientTLS(c.id)); err == nil {
			t.Errorf("an application may read %s at port %s (with its workload's certificate: %v)", c.path, c.port, c.id != nil)
		}
	}
	// Nor may it use the supervisor's or the proxies' administration.
	for _, port := range []string{"15000", "15099", "9901", "19000"} {
		if conn, err := door.Dial(t.Context(), "tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			t.Errorf("something listens at 127.0.0.1:%s of a workload", port)
		}
	}
}

func (s *site) testTokens(t *testing.T) {
	id := mesh.AccountID("default", "bookinfo-ratings")
	_, request, err := mesh.NewRequest(id)
	check(t, err)
	token := must(s.JoinToken(t.Context(), id))(t)
	_, other, err := mesh.NewRequest(mesh.AccountID("default", "bookinfo-details"))
	check(t, err)
	if answer := must(s.Sign(t.Context(), other, token))(t); answer.Status != http.StatusForbidden && answer.Status != http.StatusUnauthorized {
		t.Errorf("a token for another identity: status %d: %s", answer.Status, answer.Body)
	}
	token = must(s.JoinToken(t.Context(), id))(t)
	// Of many who use one token at once, one gets a certificate.
	const thieves = 8
	statuses := make(chan int, thieves)
	for range thieves {
		go func() {
			answer, err := s.Sign(context.WithoutCancel(t.Context()), request, token)
			if err != nil {
				answer.Status = 0
			}
			statuses <- answer.Status
		}()
	}
	count := map[int]int{}
	for range thieves {
		count[<-statuses]++
	}
	if count[http.StatusOK] != 1 || count[http.StatusUnauthorized] != thieves-1 {
		t.Errorf("one token, %d users at once: statuses %v, want one 200 and 401 for the rest", thieves, count)
	}
	if answer := must(s.Sign(t.Context(), request, token))(t); answer.Status != http.StatusUnauthorized {
		t.Errorf("a used token: status %d: %s, want 401", answer.Status, answer.Body)
	}
	if answer := must(s.Sign(t.Context(), request, "no-token-at-all"))(t); answer.Status != http.StatusUnauthorized {
		t.Errorf("no token: status %d: %s, want 401", answer.Status, answer.Body)
	}
}

// busAddress is where NATS is, in the hub.
const busAddress = "10.77.0.1:4222"

// doorDialer lets the NATS client connect through a door.
type doorDialer struct{ door *mesh.Door }

// Dial is what the client calls.
func (d doorDialer) Dial(network, address string) (net.Conn, error) {
	return d.door.Dial(context.Background(), network, address)
}

// busAs connects to the bus with a certificate, or none. What the server complains of
// goes to the channel.
func (s *site) busAs(t *testing.T, id *mesh.Identity) (*nats.Conn, <-chan error, error) {
	t.Helper()
	complaints := make(chan error, 16) // more than any test here causes
	conn, err := nats.Connect("tls://"+busAddress, nats.Secure(clientTLS(id)), nats.SetCustomDialer(doorDialer{must(s.Door("hub"))(t)}),
		nats.NoReconnect(), nats.Timeout(handshakeLimit), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			complaints <- err
		}))
	if err == nil {
		t.Cleanup(conn.Close)
	}
	return conn, complaints, err
}

func (s *site) testBusRights(t *testing.T) {
	if _, _, err := s.busAs(t, nil); err == nil {
		t.Error("the bus takes a client without a certificate")
	}
	workload := must(s.Identity(t.Context(), mesh.AccountID("default", "bookinfo-details")))(t)
	if _, _, err := s.busAs(t, &workload); err == nil {
		t.Error("the bus takes a workload")
	}
	foreign := must(mesh.Foreign(mesh.AccountID("outrigger-system", "pilot")))(t)
	if _, _, err := s.busAs(t, &foreign); err == nil {
		t.Error("the bus takes a certificate of another root")
	}
	mixer := must(s.Identity(t.Context(), mesh.AccountID("outrigger-system", "mixer")))(t)
	conn, complaints, err := s.busAs(t, &mixer)
	if err != nil {
		t.Fatalf("the bus does not take mixer, so that refusals prove nothing: %v", err)
	}
	before := s.revision(t)
	for _, subject := range []string{
		"$KV.config.RouteRule.default.forged", "$KV.registry.Workload.default.forged", "$JS.API.STREAM.DELETE.KV_config",
		"$JS.API.STREAM.PURGE.KV_config", "$JS.API.STREAM.UPDATE.KV_config", "$JS.API.STREAM.CREATE.forged", "$SYS.REQ.SERVER.PING",
	} {
		check(t, conn.Publish(subject, []byte("{}")))
		check(t, conn.FlushTimeout(handshakeLimit))
		select {
		case complaint := <-complaints:
			if !strings.Contains(strings.ToLower(complaint.Error()), "permissions violation") || !strings.Contains(complaint.Error(), subject) {
				t.Errorf("mixer published %s: %v, want a violation of permissions", subject, complaint)
			}
		case <-time.After(handshakeLimit):
			t.Errorf("mixer published %s and nobody complained", subject)
		}
	}
	if after := s.revision(t); after != before {
		t.Errorf("revision %d became %d", before, after)
	}
	if objects := s.objects(t); objects["RouteRule/default/forged"].Kind != "" {
		t.Error("a forged rule is there")
	}
}
