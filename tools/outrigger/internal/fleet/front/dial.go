package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/peer"
)

// Dial connects to a socket in the run folder of a state folder and makes sure that
// the mesh is behind it. Believed are the caller's own user, root, and the owner of the
// state folder, whom whoever names the folder trusts; and for a service's socket, named
// "<service>.….sock", the user under whom the fleet runs that service. A run folder in
// which others could put a socket of theirs, and a socket of anybody else, are a
// *Refusal. Any other error says that nobody answers.
func Dial(ctx context.Context, state, socket string) (net.Conn, error) {
	run := filepath.Join(state, fleet.RunFolder)
	owner, err := ownerOf(state)
	if err != nil {
		return nil, err
	}
	believed := []uint32{uint32(os.Geteuid()), 0, owner} //nolint:gosec // a uid
	if err := checkRunFolder(run, believed); err != nil {
		return nil, err
	}
	path := filepath.Join(run, socket)
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	uid, err := peer.UID(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	service, _, _ := strings.Cut(socket, ".")
	if !slices.Contains(believed, uid) && !slices.Contains(serviceUIDs(run, service, believed), uid) {
		return nil, errors.Join(stranger(path, uid), conn.Close())
	}
	return conn, nil
}

func stranger(path string, uid uint32) *Refusal {
	return &Refusal{
		Problem: fmt.Sprintf("somebody else answers at %s: a process of uid %d, who does not run this mesh", path, uid),
		Advice:  "find out who that is; run this as the user who started the mesh, or name its state folder with --state",
	}
}

// checkRunFolder refuses a folder where others than those believed could put a socket.
// The services of a fleet share it as a group, in which nobody can remove what another
// one made.
func checkRunFolder(run string, believed []uint32) error {
	info, err := os.Stat(run)
	if err != nil {
		return err
	}
	var problem string
	switch owner := info.Sys().(*syscall.Stat_t).Uid; {
	case !slices.Contains(believed, owner):
		problem = fmt.Sprintf("belongs to uid %d, who does not run this mesh", owner)
	case info.Mode().Perm()&0o002 != 0:
		problem = "can be written by everybody"
	case info.Mode().Perm()&0o020 != 0 && info.Mode()&os.ModeSticky == 0:
		problem = "can be written by a group, each of whom could replace what another made"
	default:
		return nil
	}
	return &Refusal{
		Problem: fmt.Sprintf("the sockets in %s cannot be believed: the folder %s", run, problem),
		Advice:  "stop the mesh, remove the folder and start the mesh again, or name another state folder with --state",
	}
}

func ownerOf(path string) (uint32, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Uid, nil
}

// maxSnapshot bounds the fleet's own description, in bytes.
const maxSnapshot = 16 << 20

// serviceUIDs are the users under whom a service runs, as the fleet's description says
// if that was written by one who is believed; none if there is no such description.
func serviceUIDs(run, service string, believed []uint32) []uint32 {
	file, err := os.Open(filepath.Join(run, fleet.SnapshotFile))
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !slices.Contains(believed, info.Sys().(*syscall.Stat_t).Uid) || info.Mode().Perm()&0o022 != 0 {
		return nil
	}
	var s fleet.Snapshot
	if err := json.NewDecoder(io.LimitReader(file, maxSnapshot)).Decode(&s); err != nil {
		return nil
	}
	var uids []uint32
	for _, p := range s.Processes {
		if p.Name == service && p.Kind == fleet.KindService {
			uids = append(uids, p.UID)
		}
	}
	return uids
}
