package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"
)

// wire reads what crosses the network between the hosts of a mesh.
type wire struct {
	socket *os.File
	seen   map[netip.Addr]int // payloads of the application's port by who sent them
	plain  []string           // what could be read
	port   uint16
}

// listenIn begins to read the traffic of a port of any host.
func (s *site) listenIn(t *testing.T, port uint16) *wire {
	t.Helper()
	door := must(s.Door("hub"))(t)
	socket := must(door.Capture())(t)
	t.Cleanup(func() { socket.Close() })
	return &wire{socket: socket, seen: map[netip.Addr]int{}, port: port}
}

// maxPacket is the longest packet on a link that joins segments, in bytes.
const maxPacket = 1 << 16

// collect reads until nothing has come for a while, or ctx ends.
func (w *wire) collect(ctx context.Context, quiet time.Duration) error {
	packet := make([]byte, maxPacket)
	for ctx.Err() == nil {
		if err := w.socket.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		n, err := w.socket.Read(packet)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		w.note(packet[:n])
	}
	return nil
}

// note looks at one IPv4 packet.
func (w *wire) note(packet []byte) {
	const minIP, minTCP, protocolTCP = 20, 20, 6
	if len(packet) < minIP || packet[0]>>4 != 4 || packet[9] != protocolTCP {
		return
	}
	segment := packet[min(len(packet), int(packet[0]&15)*4):]
	if len(segment) < minTCP {
		return
	}
	from, to := binary.BigEndian.Uint16(segment), binary.BigEndian.Uint16(segment[2:])
	payload := segment[min(len(segment), int(segment[12]>>4)*4):]
	if from != w.port && to != w.port || len(payload) == 0 {
		return
	}
	sender := netip.AddrFrom4([4]byte(packet[12:16]))
	w.seen[sender]++
	// The protocol's name alone is in the handshake of TLS too.
	for _, word := range []string{"HTTP/1.1\r\n", "GET /", "Shakespeare", "reviewer", "cookie", "x-request-id"} {
		if bytes.Contains(bytes.ToLower(payload), bytes.ToLower([]byte(word))) {
			w.plain = append(w.plain, fmt.Sprintf("%v:%d to %v:%d says %q", sender, from, netip.AddrFrom4([4]byte(packet[16:20])), to, word))
		}
	}
}

// secret is nil when all of the hosts have sent something, and nothing could be read.
func (w *wire) secret(hosts ...netip.Addr) error {
	var problems []error
	for _, host := range hosts {
		if w.seen[host] == 0 {
			problems = append(problems, fmt.Errorf("nothing came from %v", host))
		}
	}
	for _, what := range w.plain[:min(len(w.plain), 5)] {
		problems = append(problems, errors.New("plain text: "+what))
	}
	return errors.Join(problems...)
}
