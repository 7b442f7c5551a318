package measure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/figure"
	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// agentName is the program whose memory has a bound, agentMost, in megabytes.
const (
	agentName = "sidecar-agent"
	agentMost = 7
)

// memory measures what every process has resident, a while after the start and a
// renewal of certificates.
func (b *bench) memory(ctx context.Context, m *mesh.Mesh) ([]figure.Row, error) {
	s, err := m.Snapshot()
	if err != nil {
		return nil, err
	}
	serials, err := certificates(ctx, m, s)
	if err != nil {
		return nil, err
	}
	wait := b.MemoryAfter - time.Since(b.started)
	b.say("memory: looked at %v after the start, in %v", b.MemoryAfter, wait.Round(time.Second))
	if err := pause(ctx, wait); err != nil {
		return nil, err
	}
	processes, err := processes(ctx, m, s.Supervisor)
	if err != nil {
		return nil, err
	}
	if err := b.sample(ctx, processes); err != nil {
		return nil, err
	}
	now, err := certificates(ctx, m, s)
	if err != nil {
		return nil, err
	}
	for host, serial := range serials {
		if now[host] == serial {
			return nil, fmt.Errorf("no certificate was renewed on %s: it is still %s", host, serial)
		}
	}
	b.say("memory: looked at %d processes; every sidecar's certificate was renewed", len(processes))
	return memoryRows(processes, b.MemoryAfter), nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// process is one of the fleet, with what it had resident, in megabytes.
type process struct {
	pid   int
	what  string
	sizes []float64
}

// processes lists those of the fleet, and `outrigger up` itself.
func processes(ctx context.Context, m *mesh.Mesh, supervisor int) ([]*process, error) {
	members, err := m.Members(ctx)
	if err != nil {
		return nil, err
	}
	programs := map[int]string{}
	for _, member := range members {
		programs[member.PID] = member.Program
	}
	all := []*process{{pid: m.UpPID(), what: "outrigger up"}}
	for _, member := range members {
		what := member.Program
		switch {
		case what == "envoy" && member.Host != "":
			what = "envoy (sidecar)"
		case what == "envoy":
			what = "envoy (" + programs[member.Parent] + ")"
		case member.PID == supervisor:
			what = "outrigger (supervisor)"
		}
		all = append(all, &process{pid: member.PID, what: what})
	}
	return all, nil
}

// sample looks at all processes until it has enough.
func (b *bench) sample(ctx context.Context, all []*process) error {
	tick := time.NewTicker(b.MemoryEvery)
	defer tick.Stop()
	for range max(1, int(b.MemoryFor/b.MemoryEvery)) {
		for _, p := range all {
			size, err := resident(p.pid)
			if err != nil {
				return fmt.Errorf("memory of %s: %w", p.what, err)
			}
			p.sizes = append(p.sizes, size)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// resident returns Rss of a process's smaps_rollup, in megabytes.
func resident(pid int) (float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0, fmt.Errorf("process %d has ended: %w", pid, err)
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Rss:" {
			n, err := strconv.Atoi(fields[1])
			return float64(n) * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("no Rss in smaps_rollup of process %d", pid)
}

// memoryRows has a row for each kind of process, with the median of each process, looked
// at so long after the start.
func memoryRows(all []*process, after time.Duration) []figure.Row {
	medians := map[string][]float64{}
	for _, p := range all {
		medians[p.what] = append(medians[p.what], figure.Quantile(p.sizes, 50))
	}
	var rows []figure.Row
	for _, what := range slices.Sorted(maps.Keys(medians)) {
		row := figure.Row{Goal: fmt.Sprintf("memory after %.0f min: %s", after.Minutes(), what), Unit: figure.Megabytes, Measured: medians[what], Each: true}
		if what == agentName {
			row.Target.Most = agentMost
		}
		rows = append(rows, row)
	}
	return rows
}
