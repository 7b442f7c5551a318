package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// forbid runs a command where it may not make namespaces, and exits as it does. It is
// itself started as root of a new user namespace. First argument: "user" for an ordinary
// user where there may be no more user namespaces, "root" for a root without the
// capability, as in a container.
func forbid(args []string) error {
	command := exec.Command(args[1], args[2:]...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	switch args[0] {
	case "user":
		const ordinary = 1000
		command.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: ordinary, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: ordinary, HostID: 0, Size: 1}},
		}
		// The one is that of the command.
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("1"), 0); err != nil {
			return err
		}
	case "root":
		runtime.LockOSThread() // what is dropped, the thread and its children lack
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0); err != nil {
			return fmt.Errorf("drop the capability: %w", err)
		}
	}
	err := command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	return err
}
