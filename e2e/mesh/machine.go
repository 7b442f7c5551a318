package mesh

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Machine is what a network consists of, each list in order.
type Machine struct {
	Devices []string // with their addresses
	Routes  []string
	Tables  []string // of nftables, with chains and rules; none where one may not read them
}

// ReadMachine reads the network that this process is in: the machine's own.
func ReadMachine() (Machine, error) {
	var m Machine
	devices, err := net.Interfaces()
	if err != nil {
		return m, fmt.Errorf("network devices: %w", err)
	}
	for _, device := range devices {
		addresses, err := device.Addrs()
		if err != nil {
			return m, fmt.Errorf("addresses of %s: %w", device.Name, err)
		}
		m.Devices = append(m.Devices, fmt.Sprint(device.Name, " ", addresses))
	}
	slices.Sort(m.Devices)
	// Device, destination, gateway and mask; counters change by themselves.
	old, err := columns("/proc/net/route", 0, 1, 2, 7)
	if err != nil {
		return m, err
	}
	now, err := columns("/proc/net/ipv6_route", 9, 0, 1, 4)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel may do without IPv6
		return m, err
	}
	m.Routes = append(old, now...)
	slices.Sort(m.Routes)
	m.Tables, err = nftables()
	return m, err
}

// columns takes some of each line's words; lines that are too short are left out.
func columns(path string, numbers ...int) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) <= slices.Max(numbers) {
			continue
		}
		var picked []string
		for _, number := range numbers {
			picked = append(picked, words[number])
		}
		found = append(found, strings.Join(picked, " "))
	}
	return found, nil
}

// Listeners are where the mesh's processes take connections and datagrams in the
// machine's own network, such as "tcp 127.0.0.1:8080", in order. Other processes of the
// machine may listen as well: what counts is who holds the socket.
func (m *Mesh) Listeners() ([]string, error) {
	listening, err := listening()
	if err != nil {
		return nil, err
	}
	pids, err := m.family()
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for _, pid := range pids {
		folder := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("what process %d has open: %w", pid, err)
		}
		for _, entry := range entries {
			link, err := os.Readlink(filepath.Join(folder, entry.Name()))
			if address := listening[link]; err == nil && address != "" {
				held[link] = true
			}
		}
	}
	var found []string
	for link := range held {
		found = append(found, listening[link])
	}
	slices.Sort(found)
	return found, nil
}

// family lists the processes of the mesh: what belongs to it, and what `outrigger up` or
// a process below it has started.
func (m *Mesh) family() ([]int, error) {
	namespaces, err := m.Namespaces()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	children := map[int][]int{}
	found := []int{m.UpPID()}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if m.belongs(pid, namespaces) != "" {
			found = append(found, pid)
		}
		parent := parentOf(pid)
		children[parent] = append(children[parent], pid)
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
		delete(children, found[i]) // each is gone through once
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// parentOf is the parent of a process, 0 if it has ended.
func parentOf(pid int) int {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	// A program's name may hold anything; what follows its last bracket does not.
	words := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(words) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(words[1])
	return parent
}

// listening lists the sockets of this network that take what comes from anywhere, by how
// a descriptor of theirs is called.
func listening() (map[string]string, error) {
	found := map[string]string{}
	for protocol, waiting := range map[string]string{"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"} {
		lines, err := columns("/proc/net/"+protocol, 3, 9, 1) // state, inode, local address
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(protocol, "6") {
			continue // a kernel may do without IPv6
		}
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			words := strings.Fields(line)
			if words[0] != waiting {
				continue
			}
			address, err := readAddress(words[2])
			if err != nil {
				return nil, fmt.Errorf("/proc/net/%s: %w", protocol, err)
			}
			found["socket:["+words[1]+"]"] = strings.TrimSuffix(protocol, "6") + " " + address.String()
		}
	}
	return found, nil
}

// readAddress reads an address as the kernel prints it: words of 32 bits that are in
// network order and printed as this machine's numbers, a colon, the port.
func readAddress(text string) (netip.AddrPort, error) {
	digits, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(digits)
	number, portErr := strconv.ParseUint(port, 16, 16)
	if err := errors.Join(err, portErr); err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", text, err)
	}
	for at := 0; at+4 <= len(words); at += 4 {
		binary.NativeEndian.PutUint32(words[at:], binary.BigEndian.Uint32(words[at:]))
	}
	address, ok := netip.AddrFromSlice(words)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("address %q: %d bytes", text, len(words))
	}
	return netip.AddrPortFrom(address, uint16(number)), nil
}
