package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// nameServer is where every host with a sidecar asks for names.
const nameServer = "127.0.0.1:53"

// lookup asks the name server behind a door.
func lookup(ctx context.Context, door *mesh.Door, network, name string, kind dnsmessage.Type) (dnsmessage.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var answer dnsmessage.Message
	conn, err := door.Dial(ctx, network, nameServer)
	if err != nil {
		return answer, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return answer, err
		}
	}
	question := dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: 4711, RecursionDesired: true}, Questions: []dnsmessage.Question{question}}
	text, err := query.Pack()
	if err != nil {
		return answer, err
	}
	text, err = exchange(conn, network, text)
	if err != nil {
		return answer, fmt.Errorf("%s %s by %s: %w", name, kind, network, err)
	}
	if err := answer.Unpack(text); err != nil {
		return answer, fmt.Errorf("%s %s by %s: %w", name, kind, network, err)
	}
	if answer.ID != query.ID || !answer.Response {
		return answer, fmt.Errorf("%s %s by %s: no answer to the question: %+v", name, kind, network, answer.Header)
	}
	return answer, nil
}

// exchange sends a message and reads one; over TCP each is preceded by its length.
func exchange(conn net.Conn, network string, text []byte) ([]byte, error) {
	answer := make([]byte, 1<<16)
	if network == "udp" {
		if _, err := conn.Write(text); err != nil {
			return nil, err
		}
		n, err := conn.Read(answer)
		return answer[:n], err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(conn, answer[:2]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(answer)
	_, err := io.ReadFull(conn, answer[:n])
	return answer[:n], err
}

func addresses(m dnsmessage.Message) []string {
	var found []string
	for _, r := range m.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			found = append(found, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			found = append(found, netip.AddrFrom16(body.AAAA).String())
		}
	}
	slices.Sort(found)
	return found
}

// TestDNS: names are answered in each host's own network, from the registry, also while
// pilot is away; addresses stay over restarts.
func TestDNS(t *testing.T) {
	s := sturdy(t)
	headless := "apiVersion: outrigger.dev/v1\nkind: Service\nmetadata: {name: every-review, namespace: default}\n" +
		"spec: {ports: [{name: http, number: 9080, protocol: HTTP}], selector: {app: reviews}, headless: true}\n"
	s.applyLive(t, write(t, "headless.yaml", headless))
	service := s.registry(t)["Service/default/reviews"]
	if service.Service == nil || service.Service.Address == "" {
		t.Fatalf("reviews has no virtual address: %+v", service)
	}
	want := service.Service.Address
	var endpoints []string
	for _, host := range must(s.Snapshot())(t).Hosts {
		if host.Service == "reviews" {
			endpoints = append(endpoints, host.Address)
		}
	}
	slices.Sort(endpoints)
	answers := func(ctx context.Context) error {
		return errors.Join(s.resolves(ctx, "reviews", []string{want}), s.resolves(ctx, "every-review", endpoints))
	}
	t.Run("answers", func(t *testing.T) { eventually(t, 5*time.Second, answers) })
	t.Run("other names are refused at once", s.testForeignNames)
	t.Run("pilot away", func(t *testing.T) {
		check(t, s.StopProcess(t.Context(), "pilot"))
		defer s.awaitAll(t, "pilot", s.StartProcess)
		check(t, answers(t.Context()))
		// A sidecar that starts while pilot is away answers from what it keeps.
		must(s.Kill9("details-v1.sidecar"))(t)
		eventually(t, 15*time.Second, answers)
	})
	t.Run("addresses stay", func(t *testing.T) {
		s.awaitAll(t, "pilot", s.RestartProcess)
		if now := s.registry(t)["Service/default/reviews"]; now.Service == nil || now.Service.Address != want {
			t.Errorf("the address of reviews was %s and is %+v", want, now.Service)
		}
		check(t, answers(t.Context()))
	})
}

// awaitAll does something to a process and waits until the mesh is whole again.
func (s *site) awaitAll(t *testing.T, process string, do func(context.Context, string) error) {
	t.Helper()
	check(t, do(context.WithoutCancel(t.Context()), process))
	eventually(t, settleLimit, func(ctx context.Context) error {
		if err := s.Settled(); err != nil {
			return err
		}
		return errors.Join(s.connected(ctx), s.inForce(ctx))
	})
}

// resolves is nil when every form of a name has these addresses on a host, by UDP and
// by TCP, and no IPv6 address, which is no error.
func (s *site) resolves(ctx context.Context, service string, want []string) error {
	door, err := s.Door("details-v1")
	if err != nil {
		return err
	}
	for _, form := range []string{".default.svc.cluster.local.", ".default.svc.", ".default.", "."} {
		for _, network := range []string{"udp", "tcp"} {
			m, err := lookup(ctx, door, network, service+form, dnsmessage.TypeA)
			if err != nil {
				return err
			}
			if got := addresses(m); m.RCode != dnsmessage.RCodeSuccess || !slices.Equal(got, want) {
				return fmt.Errorf("%s A by %s: %v %v, want %v", service+form, network, m.RCode, got, want)
			}
			m, err = lookup(ctx, door, network, service+form, dnsmessage.TypeAAAA)
			if err != nil {
				return err
			}
			if m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) != 0 {
				return fmt.Errorf("%s AAAA by %s: %v with %d answers, want success with none", service+form, network, m.RCode, len(m.Answers))
			}
		}
	}
	return nil
}

func (s *site) testForeignNames(t *testing.T) {
	door := must(s.Door("details-v1"))(t)
	for name, want := range map[string]dnsmessage.RCode{
		"example.com.":                         dnsmessage.RCodeRefused,
		"no-such.default.svc.cluster.local.":   dnsmessage.RCodeNameError,
		"reviews.elsewhere.svc.cluster.local.": dnsmessage.RCodeNameError,
	} {
		began := time.Now()
		m, err := lookup(t.Context(), door, "udp", name, dnsmessage.TypeA)
		if err != nil || m.RCode != want {
			t.Errorf("%s: got %v, %v, want %v", name, m.RCode, err, want)
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("%s: answered after %v, want at once", name, took)
		}
	}
}
