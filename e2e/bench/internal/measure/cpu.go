package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// proxies finds the Envoys by the host that they run on.
func proxies(ctx context.Context, m *mesh.Mesh) (map[string]int, error) {
	members, err := m.Members(ctx)
	if err != nil {
		return nil, err
	}
	pids := map[string]int{}
	for _, member := range members {
		if member.Program == "envoy" && member.Host != "" {
			pids[member.Host] = member.PID
		}
	}
	return pids, nil
}

// processorTime is what all threads of some processes have had of the processors so
// far.
func processorTime(pids ...int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
		if err == nil && len(files) == 0 {
			err = errors.New("it has ended")
		}
		if err != nil {
			return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
			}
			spent, _, _ := strings.Cut(string(text), " ")
			n, err := strconv.ParseInt(spent, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
			}
			sum += time.Duration(n)
		}
	}
	return sum, nil
}
