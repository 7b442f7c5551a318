package supervise

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/forward"
)

// Descriptors that the supervisor needs beside those of forwarded connections: for
// itself, and for each process with its host.
const (
	ownDescriptors     = 128
	processDescriptors = 16
)

// Places is how many connections each of a supervisor's doors can carry where a
// process may have limit files open. Too few to work with are an error.
func Places(plan fleet.Plan, limit uint64) (int, error) {
	return forward.Places(limit, len(plan.Publish)+len(plan.Reach), ownDescriptors+processDescriptors*len(plan.Processes))
}

// openDoors opens the ways in and out of the hub, so that a failure shows before
// anything is started.
func openDoors(plan fleet.Plan, log *slog.Logger) (doors []forward.Door, err error) {
	var limit unix.Rlimit // the runtime has raised it as far as it may be
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("limit of open files: %w", err)
	}
	places, err := Places(plan, limit.Cur)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeDoors(doors)
		}
	}()
	add := func(name string, dial forward.Dial, open func() (net.Listener, error)) error {
		listener, err := open()
		if err != nil {
			return err
		}
		trouble := func(err error) { log.Error("takes no connections", "door", name, "error", err) }
		doors = append(doors, forward.Door{Listener: listener, Open: open, Dial: dial, Places: places, Trouble: trouble})
		return nil
	}
	run := filepath.Join(plan.State, fleet.RunFolder)
	for _, p := range plan.Publish {
		path := filepath.Join(run, fleet.ForwardFolder, p.Name+".sock")
		if err := add(p.Name, forward.To("tcp", p.To.String()), func() (net.Listener, error) { return listenPrivate(path) }); err != nil {
			return doors, err
		}
	}
	for _, r := range plan.Reach {
		open := func() (net.Listener, error) { return net.Listen("tcp", r.Listen.String()) } //nolint:noctx // it does not wait
		if err := add(r.Socket, forward.To("unix", filepath.Join(run, r.Socket)), open); err != nil {
			return doors, fmt.Errorf("reach %s: %w", r.Socket, err)
		}
	}
	return doors, nil
}

func closeDoors(doors []forward.Door) {
	for _, d := range doors {
		d.Listener.Close()
	}
}
