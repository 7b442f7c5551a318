package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// answerLimit bounds the wait for an answer.
const answerLimit = 5 * time.Second

// connection is one HTTP/1.1 connection over a blocking socket: its thread sleeps in
// the kernel for the answer, so that the measurement has no scheduler of its own in it.
// Not safe for concurrent use.
type connection struct {
	to      netip.AddrPort
	request []byte
	fd      int // -1 while there is none
	reader  *bufio.Reader
}

func newConnection(to netip.AddrPort, host string) *connection {
	request := "GET / HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: outrigger-bench\r\nAccept: */*\r\n\r\n"
	return &connection{to: to, request: []byte(request), fd: -1}
}

// open connects if there is no connection.
func (c *connection) open() error {
	if c.fd >= 0 {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	limit := unix.NsecToTimeval(answerLimit.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
	)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: c.to.Addr().As4(), Port: int(c.to.Port())})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("connect to %v: %w", c.to, err), unix.Close(fd))
	}
	c.fd, c.reader = fd, bufio.NewReader(socket(fd))
	return nil
}

func (c *connection) close() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd) // nothing is left to send
		c.fd = -1
	}
}

// ask sends one request and reads the answer to its end. After an error the connection
// is closed.
func (c *connection) ask() error {
	err := c.open()
	if err == nil {
		err = c.exchange()
	}
	if err != nil {
		c.close()
	}
	return err
}

func (c *connection) exchange() error {
	if n, err := unix.Write(c.fd, c.request); err != nil || n < len(c.request) {
		return fmt.Errorf("send: %d of %d bytes: %w", n, len(c.request), errors.Join(err, io.ErrShortWrite))
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", response.Status)
	}
	if response.Close {
		c.close()
	}
	return nil
}

// socket reads from a blocking descriptor.
type socket int

func (s socket) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(s), p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
