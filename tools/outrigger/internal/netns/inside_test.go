package netns_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// The tests need namespaces, and the threads of a test binary are the wrong
// place for them. TestMain therefore also plays the processes of a scenario:
// stageVar says which step of the way in this process is.
const (
	stageVar    = "OUTRIGGER_NETNS_STAGE"
	scenarioVar = "OUTRIGGER_NETNS_SCENARIO"
	userVar     = "OUTRIGGER_NETNS_AS_USER"
)

// nobody stands for any ordinary user.
const nobody = 65534

func TestMain(m *testing.M) {
	switch os.Getenv(stageVar) {
	case "":
		os.Exit(m.Run())
	case "enter":
		exit(start("inside", namespaces()))
	case "inside":
		exit(scenarios[os.Getenv(scenarioVar)]())
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runScenario runs a scenario in fresh namespaces: as root where the tests run as
// root, and always as an ordinary user.
func runScenario(t *testing.T, name string) {
	t.Helper()
	t.Setenv(scenarioVar, name)
	if os.Geteuid() == 0 {
		t.Run("root", func(t *testing.T) {
			if err := start("inside", namespaces()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("user", func(t *testing.T) {
		t.Setenv(userVar, "1")
		attr := &syscall.SysProcAttr{}
		if os.Geteuid() == 0 {
			attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		}
		if err := start("enter", attr); err != nil {
			t.Error(err)
		}
	})
}

func asUser() bool { return os.Getenv(userVar) != "" }

func namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if asUser() {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// start runs this test binary as the given stage. It goes by /proc/self/exe
// since the folder of the binary is closed to other users.
func start(stage string, attr *syscall.SysProcAttr) error {
	var output bytes.Buffer
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), stageVar+"="+stage)
	command.Stdout, command.Stderr = &output, &output
	command.SysProcAttr = attr
	if err := command.Run(); err != nil {
		return fmt.Errorf("stage %s: %w\n%s", stage, err, output.Bytes())
	}
	return nil
}
