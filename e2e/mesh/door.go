package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Door opens sockets where the test itself is not: in the network of a host or of the
// hub, or as another user. Behind it is a process that opens them and hands their
// descriptors over; what is done with them then is done by the test.
type Door struct {
	command *exec.Cmd
	socket  *net.UnixConn

	mu sync.Mutex // one request at a time
}

// doorVariable makes a test binary a door; see ServeDoor.
const doorVariable = "OUTRIGGER_E2E_DOOR"

// doorFD is the descriptor on which a door takes requests.
const doorFD = 3

// Operations of a door.
const (
	opDial    = "dial"
	opListen  = "listen"
	opCapture = "capture"
)

// doorRequest is one datagram to the door; the answer is a doorAnswer with a
// descriptor beside it when Error is empty.
type doorRequest struct {
	Op      string        `json:"op"`
	Network string        `json:"network,omitempty"`
	Address string        `json:"address,omitempty"`
	From    string        `json:"from,omitempty"`
	Within  time.Duration `json:"within,omitempty"`
}

type doorAnswer struct {
	Error string `json:"error,omitempty"`
}

const (
	doorLimit   = 10 * time.Second // for a door to answer beyond what a request may take
	maxDatagram = 16 << 10
)

// openDoor runs this test binary as a door, behind prefix if that is not empty.
func openDoor(prefix []string, attr *syscall.SysProcAttr) (*Door, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a door: %w", err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "door"), os.NewFile(uintptr(pair[1]), "door")
	defer near.Close()
	defer far.Close()
	conn, err := net.FileConn(near)
	if err != nil {
		return nil, fmt.Errorf("open a door: %w", err)
	}
	words := append(prefix, "/proc/self/exe")
	if len(prefix) > 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open a door: %w", err), conn.Close())
		}
		words[len(words)-1] = self
	}
	command := exec.Command(words[0], words[1:]...)
	command.Dir = "/"
	command.Env = []string{"PATH=" + os.Getenv("PATH"), doorVariable + "=" + strconv.Itoa(doorFD)}
	command.ExtraFiles = []*os.File{far}
	command.Stderr = &tail{limit: 4 << 10}
	command.SysProcAttr = attr
	if err := command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("open a door: %w", err), conn.Close())
	}
	return &Door{command: command, socket: conn.(*net.UnixConn)}, nil
}

// Close ends the process behind the door. What it has opened stays open.
func (d *Door) Close() error {
	err := d.socket.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.command.Wait() // it was told to end; how it does tells nothing
	}()
	select {
	case <-done:
	case <-time.After(doorLimit):
		err = errors.Join(err, d.command.Process.Kill())
		<-done
	}
	return err
}

// ask returns the descriptor that the door opened.
func (d *Door) ask(r doorRequest) (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if err := d.socket.SetDeadline(time.Now().Add(r.Within + doorLimit)); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	if _, err := d.socket.Write(text); err != nil {
		return nil, fmt.Errorf("door: %w (%v)", err, d.command.Stderr)
	}
	body, control := make([]byte, maxDatagram), make([]byte, 64)
	n, controls, _, _, err := d.socket.ReadMsgUnix(body, control)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("door: no answer: %w (%v)", errors.Join(err, net.ErrClosed), d.command.Stderr)
	}
	var answer doorAnswer
	if err := json.Unmarshal(body[:n], &answer); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return received(control[:controls])
}

// received takes the one descriptor out of a control message.
func received(control []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("door: what came with the answer: %w", err)
	}
	if len(messages) != 1 {
		return nil, fmt.Errorf("door: answered with %d control messages, want one", len(messages))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, fmt.Errorf("door: what came with the answer: %w", err)
	}
	if len(fds) != 1 {
		return nil, fmt.Errorf("door: answered with %d descriptors, want one", len(fds))
	}
	unix.CloseOnExec(fds[0])
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "through a door"), nil
}

// dialLimit bounds a dial whose context has no deadline.
const dialLimit = 5 * time.Second

// Dial connects from where the door leads to. Names are not looked up there: address
// holds an IP address, or is the path of a Unix socket.
func (d *Door) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return d.DialFrom(ctx, "", network, address)
}

// DialFrom is Dial from an address of one's own, "" for any: an IP address, for TCP.
func (d *Door) DialFrom(ctx context.Context, from, network, address string) (net.Conn, error) {
	within := dialLimit
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(deadline))
	}
	file, err := d.ask(doorRequest{Op: opDial, Network: network, Address: address, From: from, Within: within})
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return net.FileConn(file)
}

// Listen listens for TCP connections where the door leads to.
func (d *Door) Listen(address string) (net.Listener, error) {
	file, err := d.ask(doorRequest{Op: opListen, Network: "tcp", Address: address})
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return net.FileListener(file)
}

// Capture opens a socket that gets a copy of every packet that crosses any interface
// there, in or out, one packet at a Read, from its network header on.
func (d *Door) Capture() (*os.File, error) {
	return d.ask(doorRequest{Op: opCapture})
}
