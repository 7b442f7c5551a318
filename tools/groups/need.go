package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	// nobody is the ordinary user that root becomes for a step of an ordinary user.
	nobody = 65534
	// probeLimit bounds one check of the machine.
	probeLimit = 20 * time.Second
	// probeArg makes this program check one thing in a child process and end.
	probeArg = "-probe"
)

// conditions are what a group can need of the machine. Each returns why it is not so, in
// words that say what to do.
var conditions = map[string]func(ctx context.Context) error{
	"root-namespaces": rootNamespaces,
	"user-namespaces": userNamespaces,
	"namespaces":      namespaces,
	"c-compiler":      cCompiler,
	"curl":            curl,
}

// namespaces wants that whoever runs this may make network namespaces.
func namespaces(ctx context.Context) error {
	if os.Geteuid() == 0 {
		return rootNamespaces(ctx)
	}
	return userNamespaces(ctx)
}

// rootNamespaces wants root that may make network namespaces.
func rootNamespaces(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root: run it with sudo, or see the group e2e-user")
	}
	err := probe(ctx, "end", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS})
	if err != nil {
		return fmt.Errorf("root may not make network namespaces here (in a container, give it CAP_SYS_ADMIN): %w", err)
	}
	return nil
}

// userNamespaces wants that an ordinary user may make user and network namespaces.
func userNamespaces(ctx context.Context) error {
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if err := probe(ctx, "user-namespaces", attr); err != nil {
		return fmt.Errorf("an ordinary user may not make user namespaces here (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns): %w", err)
	}
	return nil
}

// cCompiler wants cc for the race detector.
func cCompiler(context.Context) error {
	if _, err := exec.LookPath("cc"); err != nil {
		return errors.New("cc is missing: install a C compiler (Debian, Ubuntu: apt-get install gcc libc6-dev)")
	}
	return nil
}

// curl wants the program, which the documents call.
func curl(context.Context) error {
	if _, err := exec.LookPath("curl"); err != nil {
		return errors.New("curl is missing: install it (Debian, Ubuntu: apt-get install curl)")
	}
	return nil
}

// probe starts this program again with attr and a thing to check.
func probe(ctx context.Context, what string, attr *syscall.SysProcAttr) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", probeArg, what)
	cmd.SysProcAttr = attr
	cmd.Dir = "/"
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w %s", err, text)
	}
	return nil
}

// answerProbe is the child's side of probe: it returns nil if the thing can be done.
func answerProbe(what string) error {
	if what != "user-namespaces" {
		return nil
	}
	return probe(context.Background(), "end", &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	})
}
