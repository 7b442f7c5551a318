package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ServeDoor does the work of a door if this process was started as one, and then says
// true: TestMain calls it first and ends.
func ServeDoor() (bool, error) {
	text := os.Getenv(doorVariable)
	if text == "" {
		return false, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil {
		return true, fmt.Errorf("%s=%q is not a descriptor", doorVariable, text)
	}
	for {
		request := make([]byte, maxDatagram)
		n, err := unix.Read(fd, request)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return true, err
		}
		if err := answerDoor(fd, request[:n]); err != nil {
			return true, err
		}
	}
}

// answerDoor carries out one request and sends the answer.
func answerDoor(fd int, text []byte) error {
	var request doorRequest
	var answer doorAnswer
	var file *os.File
	err := json.Unmarshal(text, &request)
	if err == nil {
		file, err = open(request)
	}
	var rights []byte
	if err != nil {
		answer.Error = err.Error()
	} else {
		defer file.Close()
		rights = unix.UnixRights(int(file.Fd()))
	}
	reply, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return unix.Sendmsg(fd, reply, rights, nil, 0)
}

func open(r doorRequest) (*os.File, error) {
	switch r.Op {
	case opDial:
		ctx, cancel := context.WithTimeout(context.Background(), r.Within)
		defer cancel()
		var dialer net.Dialer
		if r.From != "" {
			dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(r.From)}
		}
		conn, err := dialer.DialContext(ctx, r.Network, r.Address)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn.(interface{ File() (*os.File, error) }).File()
	case opListen:
		listener, err := net.Listen(r.Network, r.Address)
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		return listener.(*net.TCPListener).File()
	case opCapture:
		return capture()
	default:
		return nil, fmt.Errorf("a door cannot %q", r.Op)
	}
}

// captureBuffer is what may wait unread, in bytes.
const captureBuffer = 16 << 20

func capture() (*os.File, error) {
	const all = unix.ETH_P_ALL << 8 // in network order; other sockets do not see what is sent
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer)
	if errors.Is(err, unix.EPERM) { // an ordinary user has to do with what everybody may have
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, captureBuffer)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("buffer of a packet socket: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packets"), nil
}

// Door returns the door to a host's network, or to the hub's for "hub". It stays open
// until the mesh is stopped; doors of one name are the same.
func (m *Mesh) Door(name string) (*Door, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if door := m.doors[name]; door != nil {
		return door, nil
	}
	pid, err := m.inside(name)
	if err != nil {
		return nil, err
	}
	prefix := []string{"nsenter", "--target", strconv.Itoa(pid), "--net"}
	if os.Geteuid() != 0 {
		prefix = append(prefix, "--user", "--preserve-credentials")
	}
	door, err := openDoor(append(prefix, "--"), &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	m.doors[name] = door
	return door, nil
}

// inside returns a process that runs in the network of a host or of the hub.
func (m *Mesh) inside(name string) (int, error) {
	s, err := m.Snapshot()
	if err != nil {
		return 0, err
	}
	if name == "hub" {
		return s.Supervisor, nil
	}
	for _, p := range s.Processes {
		if p.Host == name && p.PID != 0 {
			return p.PID, nil
		}
	}
	return 0, fmt.Errorf("nothing runs on host %q", name)
}

// UserDoor opens a door that leads nowhere else, but opens sockets as another user.
// Only root can.
func UserDoor(uid uint32) (*Door, error) {
	return openDoor(nil, &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: uid, Gid: uid},
	})
}

func (m *Mesh) closeDoors() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var problems []error
	for name, door := range m.doors {
		problems = append(problems, door.Close())
		delete(m.doors, name)
	}
	return errors.Join(problems...)
}
