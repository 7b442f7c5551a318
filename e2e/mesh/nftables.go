package mesh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// listing is one list that nftables gives, with the attributes that name an entry.
type listing struct {
	kind    string
	message uint16
	names   []uint16
}

var listings = []listing{
	{"table", unix.NFT_MSG_GETTABLE, []uint16{unix.NFTA_TABLE_NAME}},
	{"chain", unix.NFT_MSG_GETCHAIN, []uint16{unix.NFTA_CHAIN_TABLE, unix.NFTA_CHAIN_NAME}},
	{"rule in", unix.NFT_MSG_GETRULE, []uint16{unix.NFTA_RULE_TABLE, unix.NFTA_RULE_CHAIN}},
}

// nftables lists tables, chains and rules of the network that this process is in; none
// for an ordinary user, who may not read them.
func nftables() ([]string, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // it has nothing more to say
	var found []string
	for _, l := range listings {
		entries, err := l.read(fd)
		if errors.Is(err, unix.EPERM) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("nftables: list each %s: %w", l.kind, err)
		}
		found = append(found, entries...)
	}
	slices.Sort(found)
	return found, nil
}

// familyHeader is how many bytes stand before the attributes of a message: nfgenmsg.
const familyHeader = 4

func (l listing) read(fd int) ([]string, error) {
	request := make([]byte, unix.SizeofNlMsghdr+familyHeader) // of any family
	binary.NativeEndian.PutUint32(request[0:], uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.NFNL_SUBSYS_NFTABLES<<8|l.message)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var found []string
	answer := make([]byte, 1<<16) // more than the kernel puts into one datagram
	for {
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(answer[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return found, nil
			case unix.NLMSG_ERROR:
				return nil, unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
			}
			found = append(found, l.name(m.Data))
		}
	}
}

// name is the kind of an entry, the number of its family, and what it is called.
func (l listing) name(data []byte) string {
	if len(data) < familyHeader {
		return l.kind
	}
	name := fmt.Sprintf("%s %d", l.kind, data[0])
	for rest := data[familyHeader:]; len(rest) >= unix.SizeofNlAttr; {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < unix.SizeofNlAttr || size > len(rest) {
			break
		}
		if slices.Contains(l.names, kind) {
			name += " " + string(bytes.TrimRight(rest[unix.SizeofNlAttr:size], "\x00"))
		}
		const align = unix.NLA_ALIGNTO
		rest = rest[min(len(rest), (size+align-1)/align*align):]
	}
	return name
}
