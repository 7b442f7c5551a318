package resolver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
)

// What whoever starts a process says of sockets to serve, and the first of them; see
// sd_listen_fds(3) of systemd.
const (
	listenPID   = "LISTEN_PID"
	listenFDs   = "LISTEN_FDS"
	listenNames = "LISTEN_FDNAMES"
	firstFD     = 3
	maxFDs      = 16
)

// Inherit returns the sockets that the process was started with, for it to serve; none
// is no error. Who started it keeps them open, so that queries which come while there
// is no agent wait for the next one. To be called once, before another process is
// started: none gets the sockets or hears of them.
func Inherit() ([]*os.File, error) {
	pid, count := os.Getenv(listenPID), os.Getenv(listenFDs)
	for _, name := range []string{listenPID, listenFDs, listenNames} {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("inherited sockets: %w", err)
		}
	}
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // or for a process between
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxFDs {
		return nil, fmt.Errorf("inherited sockets: %s: want 0 to %d, got %q", listenFDs, maxFDs, count)
	}
	var files []*os.File
	for fd := firstFD; fd < firstFD+n; fd++ {
		syscall.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "inherited socket"))
	}
	return files, nil
}

// sockets are what a server listens on.
type sockets struct {
	tcp *net.TCPListener
	udp *net.UDPConn
}

// adopt takes over the files, each of which must be a socket of this address, and
// closes them.
func adopt(address netip.AddrPort, files []*os.File) (s sockets, err error) {
	for _, file := range files {
		err = errors.Join(err, s.take(address, file), file.Close())
	}
	if err != nil {
		return sockets{}, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *sockets) take(address netip.AddrPort, file *os.File) error {
	if conn, err := net.FilePacketConn(file); err == nil {
		udp, is := conn.(*net.UDPConn)
		if !is || s.udp != nil || udp.LocalAddr().(*net.UDPAddr).AddrPort() != address {
			return errors.Join(unwanted(conn.LocalAddr(), address), conn.Close())
		}
		s.udp = udp
		return nil
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("inherited socket: neither UDP nor listening on TCP: %w", err)
	}
	tcp, is := listener.(*net.TCPListener)
	if !is || s.tcp != nil || tcp.Addr().(*net.TCPAddr).AddrPort() != address {
		return errors.Join(unwanted(listener.Addr(), address), listener.Close())
	}
	s.tcp = tcp
	return nil
}

func unwanted(got net.Addr, want netip.AddrPort) error {
	return fmt.Errorf("inherited socket: %s %s: want one for UDP and one for TCP at %s, where DNS is served", got.Network(), got, want)
}

// open opens what was not adopted, at the same port.
func (s *sockets) open(address netip.AddrPort) (err error) {
	if s.tcp == nil {
		if s.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address)); err != nil {
			return err
		}
	}
	if s.udp == nil {
		s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.tcp.Addr().(*net.TCPAddr).AddrPort()))
	}
	return err
}

func (s *sockets) close() error {
	var failures []error
	if s.tcp != nil {
		failures = append(failures, s.tcp.Close())
	}
	if s.udp != nil {
		failures = append(failures, s.udp.Close())
	}
	return errors.Join(failures...)
}
