package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Snapshot is what `outrigger up` writes to run/fleet.json.
type Snapshot struct {
	Mode       string            `json:"mode"`       // "root" or "user"
	PID        int               `json:"pid"`        // of `outrigger up`
	Supervisor int               `json:"supervisor"` // as the machine counts
	Stage      string            `json:"stage"`
	Failure    string            `json:"failure"`
	ReadyAfter time.Duration     `json:"readyAfter"`
	Hub        string            `json:"hub"`
	Published  map[string]string `json:"published"`
	Hosts      []Host            `json:"hosts"`
	Processes  []Process         `json:"processes"`
}

// Host is a workload with a network of its own.
type Host struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	Version   string `json:"version"`
	Account   string `json:"account"`
	Address   string `json:"address"`
	Sidecar   bool   `json:"sidecar"`
}

// Process is one that the supervisor keeps running.
type Process struct {
	Name     string `json:"name"`
	Host     string `json:"host"`
	Phase    string `json:"phase"`
	Detail   string `json:"detail"`
	PID      int    `json:"pid"` // as the machine counts; 0 while it does not run
	Restarts int    `json:"restarts"`
	Log      string `json:"log"`
}

// Member is any process of the fleet, such as an Envoy.
type Member struct {
	PID     int    `json:"pid"` // as the machine counts
	Parent  int    `json:"parent"`
	Host    string `json:"host"` // empty: in the hub
	Program string `json:"program"`
}

// PhaseReady is the phase of a process that is ready.
const PhaseReady = "ready"

func readSnapshot(state string) (Snapshot, error) {
	var s Snapshot
	text, err := os.ReadFile(filepath.Join(state, "run", "fleet.json"))
	if err != nil {
		return s, fmt.Errorf("fleet state: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("fleet state: %w", err)
	}
	return s, nil
}

// Snapshot reads how the fleet is now.
func (m *Mesh) Snapshot() (Snapshot, error) { return readSnapshot(m.State) }

// Process finds one by its name, such as "pilot" or "reviews-v1.sidecar".
func (m *Mesh) Process(name string) (Process, error) {
	s, err := m.Snapshot()
	if err != nil {
		return Process{}, err
	}
	for _, p := range s.Processes {
		if p.Name == name {
			return p, nil
		}
	}
	return Process{}, fmt.Errorf("the fleet has no process %q", name)
}

// Host finds one by its name.
func (m *Mesh) Host(name string) (Host, error) {
	s, err := m.Snapshot()
	if err != nil {
		return Host{}, err
	}
	for _, h := range s.Hosts {
		if h.Name == name {
			return h, nil
		}
	}
	return Host{}, fmt.Errorf("the fleet has no host %q", name)
}

// Settled is nil when all of the named processes are ready; of none, all that the
// fleet has.
func (m *Mesh) Settled(names ...string) error {
	s, err := m.Snapshot()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	var missing []string
	for _, p := range s.Processes {
		named := len(names) == 0 && p.Phase != "held" && p.Phase != "stopped" || wanted[p.Name]
		if named && p.Phase != PhaseReady {
			missing = append(missing, fmt.Sprintf("%s is %s (%s)", p.Name, p.Phase, p.Detail))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not ready: %s", strings.Join(missing, "; "))
	}
	return nil
}

// Members lists every process of the fleet, those included that services started.
func (m *Mesh) Members(ctx context.Context) ([]Member, error) {
	out, err := m.fleet(ctx, "status", "--output", "json")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Members []Member `json:"members"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, fmt.Errorf("fleet status: %w", err)
	}
	return answer.Members, nil
}

// EnvoyPID is the process of the Envoy on a host; of a gateway, "ingress" or "egress",
// that one's.
func (m *Mesh) EnvoyPID(ctx context.Context, name string) (int, error) {
	return m.admin(name).pid(ctx)
}
