package netns

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// register is the one nftables register that the rules load and compare.
const register = unix.NFT_REG_1

// Offsets in the IPv4 and TCP headers.
const (
	ipSource        = 12
	ipDestination   = 16
	tcpDestination  = 2
	ipv4Size        = 4
	tcpPortSize     = 2
	interfaceLength = 16 // IFNAMSIZ
)

// when joins matches and a last action to one rule.
func when(parts ...[]expr.Any) rule {
	var joined rule
	for _, part := range parts {
		joined = append(joined, part...)
	}
	return joined
}

func metaIs(key expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: value},
	}
}

func tcp() []expr.Any { return metaIs(expr.MetaKeyL4PROTO, []byte{unix.IPPROTO_TCP}) }

func overLoopback() []expr.Any {
	name := make([]byte, interfaceLength)
	copy(name, "lo")
	return metaIs(expr.MetaKeyOIFNAME, name)
}

func destinationPort(ports PortRange) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: tcpDestination, Len: tcpPortSize},
		&expr.Range{Op: expr.CmpOpEq, Register: register, FromData: network16(ports.First), ToData: network16(ports.Last)},
	}
}

func source(prefix netip.Prefix) []expr.Any      { return addressIn(ipSource, prefix) }
func destination(prefix netip.Prefix) []expr.Any { return addressIn(ipDestination, prefix) }

func addressIn(offset uint32, prefix netip.Prefix) []expr.Any {
	mask := make([]byte, ipv4Size)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-prefix.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: ipv4Size},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: ipv4Size, Mask: mask, Xor: make([]byte, ipv4Size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: prefix.Masked().Addr().AsSlice()},
	}
}

func redirectTo(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: register, Data: network16(port)},
		&expr.Redir{RegisterProtoMin: register},
	}
}

// leave ends the chain: the connection goes where it was meant to.
func leave() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}} }

func network16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
