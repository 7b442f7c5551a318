// Package enter is the last step before a program of the fleet runs: a process
// that was started for it moves into the right namespaces, takes on the right
// user and turns into the program. In: a Spec on an inherited descriptor. Out:
// the program, under the same process id. It never returns when all is well, and
// it leaves no trace outside the namespaces that it makes.
package enter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// The descriptors that a process to be must have been started with. JoinFD is
// there only if Spec.Join says so. As many sockets as Spec.Sockets says come last.
const (
	SpecFD = 3
	NetFD  = 4
	JoinFD = 5
)

// joinVariable tells the program where its join tokens come from.
const joinVariable = "OUTRIGGER_JOIN_FD"

// How a program finds the sockets that it is to serve: from listenFD on, as
// sd_listen_fds(3) of systemd has it.
const (
	listenFD       = 3
	listenVariable = "LISTEN_FDS"
	listenerPID    = "LISTEN_PID"
)

// Spec says what to turn into.
type Spec struct {
	Path string   `json:"path"`
	Args []string `json:"args"` // without the program's name
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	// UID and Groups are taken on if UID is not 0; the group is the one with the
	// same number as the user.
	UID    uint32   `json:"uid"`
	Groups []uint32 `json:"groups"`
	// Capabilities are those that may be had; all others are dropped for good.
	Capabilities []uintptr `json:"capabilities"`
	Hostname     string    `json:"hostname"`
	Binds        []Bind    `json:"binds"`
	Join         bool      `json:"join"`
	Sockets      int       `json:"sockets"` // how many it gets to listen on
}

// Bind puts a file over another one, in the program's own mount namespace. A
// missing target is passed over if Optional.
type Bind struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	Optional bool   `json:"optional"`
}

// maxSpec bounds what is read, in bytes.
const maxSpec = 1 << 20

// Become turns the calling process into the program and returns only if it cannot.
func Become() error {
	// Namespaces and users belong to threads; the one that calls execve decides.
	runtime.LockOSThread()
	from := os.NewFile(SpecFD, "spec")
	defer from.Close() // not before, since another file may come to be at its number
	spec, err := read(from)
	if err != nil {
		return err
	}
	if err := spec.enterNamespaces(); err != nil {
		return fmt.Errorf("enter the network of %s: %w", spec.Path, err)
	}
	if err := spec.takeOn(); err != nil {
		return fmt.Errorf("become the user of %s: %w", spec.Path, err)
	}
	return spec.execute()
}

func read(from *os.File) (Spec, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxSpec))
	if err != nil {
		return Spec{}, fmt.Errorf("read what to become: %w", err)
	}
	var spec Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return Spec{}, fmt.Errorf("read what to become: %w", err)
	}
	return spec, nil
}

func (s Spec) enterNamespaces() error {
	if err := unix.Setns(NetFD, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, bind := range s.Binds {
		err := unix.Mount(bind.Source, bind.Target, "", unix.MS_BIND, "")
		if errors.Is(err, unix.ENOENT) && bind.Optional {
			continue
		}
		if err != nil {
			return fmt.Errorf("put %s over %s: %w", bind.Source, bind.Target, err)
		}
	}
	if err := mountProc(); err != nil {
		return err
	}
	if s.Hostname == "" {
		return nil
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	return nil
}

// mountProc gives the program a /proc in which processes have the numbers that it
// knows them by, and in which the machine's are not to be seen.
func mountProc() error {
	err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if errors.Is(err, unix.EPERM) {
		return errors.New("/proc cannot be mounted: parts of it are hidden here, as in containers; run the fleet as root, or outside of the container")
	}
	if err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// takeOn drops privileges, of this thread only: no other one lives on.
func (s Spec) takeOn() error {
	if err := s.dropCapabilities(); err != nil {
		return err
	}
	if s.UID != 0 {
		if err := s.become(); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	return nil
}

// dropCapabilities empties the bounding set, so that no program that is run later
// has them; this process still needs some.
func (s Spec) dropCapabilities() error {
	keep := map[uintptr]bool{}
	for _, capability := range s.Capabilities {
		keep[capability] = true
	}
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		if keep[capability] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // the kernel knows fewer
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	return nil
}

func (s Spec) become() error {
	groups := make([]int, 0, len(s.Groups))
	for _, group := range s.Groups {
		groups = append(groups, int(group))
	}
	if err := unix.Setgroups(groups); err != nil {
		return fmt.Errorf("groups %v: %w", groups, err)
	}
	id := int(s.UID)
	if err := unix.Setresgid(id, id, id); err != nil {
		return fmt.Errorf("group %d: %w", id, err)
	}
	if err := unix.Setresuid(id, id, id); err != nil {
		return fmt.Errorf("user %d: %w", id, err)
	}
	return nil
}

func (s Spec) execute() error {
	env, err := s.hand()
	if err != nil {
		return err
	}
	if err := unix.Chdir(s.Dir); err != nil {
		return fmt.Errorf("folder %s: %w", s.Dir, err)
	}
	err = unix.Exec(s.Path, append([]string{s.Path}, s.Args...), env)
	return fmt.Errorf("run %s: %w", s.Path, err)
}

// hand puts the program's descriptors where it looks for them and returns its
// environment, which says where that is.
func (s Spec) hand() ([]string, error) {
	env, first := s.Env, JoinFD
	if s.Join {
		first++
		// Out of the way of the sockets.
		join, err := unix.FcntlInt(JoinFD, unix.F_DUPFD, first+s.Sockets)
		if err != nil {
			return nil, fmt.Errorf("hand over the join socket: %w", err)
		}
		env = append(env, joinVariable+"="+strconv.Itoa(join))
	}
	for i := range s.Sockets {
		if err := unix.Dup3(first+i, listenFD+i, 0); err != nil { // which survives the exec
			return nil, fmt.Errorf("hand over a socket: %w", err)
		}
	}
	for fd := listenFD + s.Sockets; fd < first+s.Sockets; fd++ {
		unix.CloseOnExec(fd)
	}
	if s.Sockets > 0 {
		env = append(env, listenVariable+"="+strconv.Itoa(s.Sockets), listenerPID+"="+strconv.Itoa(os.Getpid()))
	}
	return env, nil
}
