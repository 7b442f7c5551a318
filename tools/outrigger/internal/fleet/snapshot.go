package fleet

import (
	"net/netip"
	"time"
)

// Phase is where a process is in its life.
type Phase string

// The phases. Held is a manual process that was never started, Stopped one that
// was stopped by request; both stay so until they are started by request.
const (
	Waiting  Phase = "waiting" // for what must be ready before
	Starting Phase = "starting"
	Up       Phase = "ready"
	Unready  Phase = "unready"    // was ready, and says that it is not or says nothing
	Failing  Phase = "restarting" // ended, and is started again after a pause
	Stopping Phase = "stopping"
	Stopped  Phase = "stopped"
	Held     Phase = "held"
)

// CameUp says whether a process that runs has been ready, which is what others wait
// for: whatever becomes of it later does not hold them up.
func (p Phase) CameUp() bool { return p == Up || p == Unready }

// Status is one process as it is now.
type Status struct {
	Name     string     `json:"name"`
	Kind     Kind       `json:"kind"`
	Host     string     `json:"host,omitempty"`
	Address  netip.Addr `json:"address"`
	Phase    Phase      `json:"phase"`
	Detail   string     `json:"detail,omitempty"` // why it is not ready
	PID      int        `json:"pid,omitempty"`    // as the machine counts
	LocalPID int        `json:"localPID,omitempty"`
	UID      uint32     `json:"uid"`
	Restarts int        `json:"restarts"`
	// Failures counts the ends in a row since it was last ready, LastWords are
	// the last lines it printed before the latest.
	Failures  int       `json:"failures,omitempty"`
	LastWords string    `json:"lastWords,omitempty"`
	Since     time.Time `json:"since"` // of the phase
	Log       string    `json:"log"`
}

// Stage is where the whole fleet is.
type Stage string

// The stages. A fleet stays in StageReady when one of its processes fails later.
const (
	StageStarting Stage = "starting"
	StageReady    Stage = "ready"
	StageFailed   Stage = "failed"
	StageStopping Stage = "stopping"
)

// Snapshot is the fleet as it is now: the content of run/fleet.json and of the
// answers at run/fleet.sock.
type Snapshot struct {
	State      string            `json:"state"`
	Mode       string            `json:"mode"`       // "root" or "user"
	PID        int               `json:"pid"`        // of `outrigger up`
	Supervisor int               `json:"supervisor"` // of the first process in the namespaces, as the machine counts
	Started    time.Time         `json:"started"`
	Stage      Stage             `json:"stage"`
	ReadyAfter time.Duration     `json:"readyAfter,omitempty"` // nanoseconds
	Failure    string            `json:"failure,omitempty"`
	Warning    string            `json:"warning,omitempty"` // what cannot be kept up while the fleet goes on
	Hub        netip.Addr        `json:"hub"`
	Published  map[string]string `json:"published"` // name to address on the machine's loopback
	Hosts      []PlannedHost     `json:"hosts"`
	Processes  []Status          `json:"processes"`
}

// Member is any process inside the fleet, such as an Envoy that a service
// started.
type Member struct {
	PID      int    `json:"pid"` // as the machine counts
	LocalPID int    `json:"localPID"`
	Parent   int    `json:"parent"`         // as the machine counts
	Host     string `json:"host,omitempty"` // empty: in the hub
	Program  string `json:"program"`
}

// Names of what is in the run folder.
const (
	SnapshotFile  = "fleet.json"
	ControlSocket = "fleet.sock"
	ForwardFolder = "fwd"
)

// Request is one line to the control socket. Op is "status", "members", "start",
// "stop", "restart" or "signal"; Name is a process or a host, which stands for
// its sidecar and its application; Signal is as in "KILL".
type Request struct {
	Op     string `json:"op"`
	Name   string `json:"name,omitempty"`
	Signal string `json:"signal,omitempty"`
}

// Response answers a Request. Error is empty when it was carried out; start and
// restart do not wait for readiness, stop waits for the end.
type Response struct {
	Error    string    `json:"error,omitempty"`
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	Members  []Member  `json:"members,omitempty"`
}

// Orders is the first line to the supervisor; what follows are Tells.
type Orders struct {
	Plan      Plan              `json:"plan"`
	PID       int               `json:"pid"`
	Published map[string]string `json:"published"`
	Started   time.Time         `json:"started"`
}

// Tell is a line to the supervisor after the first.
type Tell struct {
	Stop bool `json:"stop"`
}

// Report is a line from the supervisor. Fatal says why it gives up before
// anything was started; Stopped is its last word.
type Report struct {
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	Fatal    string    `json:"fatal,omitempty"`
	Stopped  bool      `json:"stopped,omitempty"`
}
