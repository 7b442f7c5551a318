// Package peer says who is at the other end of a Unix socket, by the kernel's word.
package peer

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// UID is the user at the other end: whoever connected, or whoever listened.
func UID(conn net.Conn) (uint32, error) {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%v is not a Unix socket", conn.RemoteAddr())
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return 0, err
	}
	var credentials *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		credentials, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, asked); err != nil {
		return 0, fmt.Errorf("ask for the peer's user: %w", err)
	}
	return credentials.Uid, nil
}
