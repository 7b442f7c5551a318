package front

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/supervise"
)

const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// inner is the supervisor as seen from outside.
type inner struct {
	conn    net.Conn
	reports chan fleet.Report
	ended   chan struct{} // closed at its end
	quit    chan struct{} // closed when nobody takes reports any more
	process *os.Process
	how     string // it ended; read when ended is closed
	crash   string // path of what it says when it breaks
	tells   *json.Encoder
}

// startInner starts the supervisor in namespaces of its own, which end with the
// calling process.
func startInner(state string, lock *os.File) (*inner, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the line to the supervisor: %w", err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "line"), os.NewFile(uintptr(pair[1]), "line")
	defer near.Close()
	defer far.Close()
	conn, err := net.FileConn(near)
	if err != nil {
		return nil, fmt.Errorf("open the line to the supervisor: %w", err)
	}
	i := &inner{
		conn: conn, reports: make(chan fleet.Report), ended: make(chan struct{}), quit: make(chan struct{}),
		crash: filepath.Join(state, fleet.LogFolder, supervise.SupervisorLog+".crash"), tells: json.NewEncoder(conn),
	}
	output, err := os.OpenFile(i.crash, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	defer output.Close()
	command := exec.Command("/proc/self/exe", supervise.Command)
	command.Args[0] = "outrigger"
	command.Env = []string{}
	command.Dir = "/"
	command.Stdout, command.Stderr = output, output
	command.ExtraFiles = []*os.File{far, lock}
	command.SysProcAttr = attributes()
	if err := i.run(command); err != nil {
		return nil, errors.Join(startRefusal(err), conn.Close())
	}
	go i.listen()
	return i, nil
}

func attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: namespaces,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true, // so that an interrupt at the terminal comes to the front only
	}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// run starts the command on a thread that lives as long as the command: the
// signal at the parent's death is sent at the death of the parent's thread.
func (i *inner) run(command *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		i.process = command.Process
		started <- err
		if err == nil {
			i.how = "it ended"
			if err := command.Wait(); err != nil {
				i.how = err.Error()
			}
			close(i.ended)
		}
	}()
	return <-started
}

// listen passes on reports until the line breaks.
func (i *inner) listen() {
	defer close(i.reports)
	decoder := json.NewDecoder(i.conn)
	for {
		var r fleet.Report
		if err := decoder.Decode(&r); err != nil {
			return
		}
		select {
		case i.reports <- r:
		case <-i.quit:
			return
		}
	}
}

// tell sends a line to the supervisor.
func (i *inner) tell(what any) error {
	if err := i.conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	return i.tells.Encode(what)
}

// kill ends everything in the namespaces and waits for it.
func (i *inner) kill() {
	_ = i.process.Kill() // it may have ended
	<-i.ended
}

// lastWords is how a supervisor that broke has ended, and what it printed.
func (i *inner) lastWords() string {
	text, err := os.ReadFile(i.crash)
	if err != nil || len(text) == 0 {
		return i.how
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return i.how + "\n" + strings.Join(lines[:min(len(lines), 12)], "\n")
}

func startRefusal(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) {
		return namespaceRefusal(err)
	}
	return fmt.Errorf("start the supervisor: %w", err)
}

func namespaceRefusal(err error) error {
	if os.Geteuid() == 0 {
		return &Refusal{
			Problem: "this machine does not let root make namespaces", Cause: err,
			Advice: "if this is a container, run it with CAP_SYS_ADMIN and CAP_NET_ADMIN (`--privileged`)",
		}
	}
	return &Refusal{
		Problem: "this machine does not let ordinary users make namespaces", Cause: err,
		Advice: "let root allow it with whichever of these settings exists: `sysctl -w user.max_user_namespaces=10000`, " +
			"`sysctl -w kernel.unprivileged_userns_clone=1`, `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`; or run this as root",
	}
}

// close gives up the line.
func (i *inner) close() {
	close(i.quit)
	i.conn.Close()
}

func (i *inner) alive() bool {
	select {
	case <-i.ended:
		return false
	default:
		return true
	}
}
