package supervise

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// members lists every process of the fleet, those included that the supervisor
// did not start. They are found by their process namespace in the machine's
// /proc, which is the one seen here. A process that ends meanwhile is passed over.
func members(places map[string]place) ([]fleet.Member, error) {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	hosts := map[string]string{}
	for name, at := range places {
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", at.space.FD()))
		if err != nil {
			return nil, fmt.Errorf("look for processes: %w", err)
		}
		hosts[link] = name
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	var found []fleet.Member
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		folder := filepath.Join("/proc", entry.Name())
		if namespace, err := os.Readlink(folder + "/ns/pid"); err != nil || namespace != own {
			continue
		}
		member, ok := describeMember(folder)
		if !ok {
			continue
		}
		if link, err := os.Readlink(folder + "/ns/net"); err == nil {
			member.Host = hosts[link]
		}
		member.PID = pid
		found = append(found, member)
	}
	return found, nil
}

func describeMember(folder string) (fleet.Member, bool) {
	file, err := os.Open(folder + "/status")
	if err != nil {
		return fleet.Member{}, false
	}
	defer file.Close()
	var m fleet.Member
	for lines := bufio.NewScanner(file); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		last := fields[len(fields)-1]
		switch key {
		case "Name":
			m.Program = strings.TrimSpace(value)
		case "PPid":
			m.Parent, err = strconv.Atoi(last)
		case "NSpid":
			m.LocalPID, err = strconv.Atoi(last)
		case "State":
			if last == "(zombie)" {
				return fleet.Member{}, false
			}
		}
		if err != nil {
			return fleet.Member{}, false
		}
	}
	return m, m.LocalPID != 0
}
