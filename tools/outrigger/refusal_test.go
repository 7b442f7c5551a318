package main_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestUpSaysWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port

	cases := []struct {
		name string
		set  func(t *testing.T, s *site)
		args []string
		code int
		want []string
	}{
		{name: "ingress port in use", args: []string{"--ingress-port", fmt.Sprint(port)}, code: 1,
			want: []string{fmt.Sprintf("port %d", port), "in use", "--ingress-port"}},
		{name: "other port in use", args: []string{"--publish", fmt.Sprintf("bare=%d", port)}, code: 1,
			want: []string{fmt.Sprintf("port %d", port), "in use", "--publish bare=PORT"}},
		{name: "unknown published name", args: []string{"--publish", "nothing=0"}, code: 1, want: []string{`"nothing"`}},
		{name: "port that is none", args: []string{"--publish", "bare=x"}, code: 2, want: []string{"NAME=PORT"}},
		{name: "unknown flag", args: []string{"--nonsense"}, code: 2, want: []string{"--nonsense", "outrigger up --help"}},
		{name: "missing program", set: func(t *testing.T, s *site) { s.edit(t, "command: standin", "command: missing") }, code: 1,
			want: []string{"bin/missing (for authority)", "make build"}},
		{name: "missing Envoy", args: []string{"--envoy", "bin/missing"}, code: 1, want: []string{"bin/missing", "make setup", "--envoy"}},
		{name: "other program for Envoy", args: []string{"--envoy", "bin/outrigger"}, code: 1, want: []string{"Envoy at bin/outrigger", "--envoy"}},
		{name: "other version of Envoy", set: func(t *testing.T, s *site) { s.oldEnvoy(t) }, code: 1, want: []string{"it is version 1.39.2, not 1.40.0"}},
		{name: "state folder is a file", set: func(t *testing.T, s *site) { check(t, os.WriteFile(s.path("state"), nil, 0o600)) }, code: 1,
			want: []string{"state folder", "--state"}},
		{name: "state folder that may not be read", set: func(t *testing.T, s *site) { check(t, os.Mkdir(s.path("state"), 0)) }, code: 1,
			want: []string{"the state folder state cannot be used", "permission denied", "what to do", "--state", "chown -R"}},
		{name: "state folder with a long path", args: []string{"--state", "state" + strings.Repeat("/long-name", 9)}, code: 1,
			want: []string{"too long", "--state"}},
		{name: "missing fleet file", args: []string{"--fleet", "missing.yaml"}, code: 1, want: []string{"missing.yaml", "--fleet"}},
		{name: "unknown key in the fleet file", set: func(t *testing.T, s *site) { s.edit(t, "config: config", "config: config\nnonsense: 1") }, code: 1,
			want: []string{"line 3", "nonsense"}},
		{name: "service that gives up", set: func(t *testing.T, s *site) { s.edit(t, `[service, "${HUB}:15014"]`, "[broken]") }, code: 1,
			want: []string{"pilot does not start: exit status 1", "cannot find my left shoe", "state/log/pilot.log"}},
		{name: "service that is never ready", set: func(t *testing.T, s *site) { s.edit(t, `[service, "${HUB}:15014"]`, "[deaf]") }, code: 1,
			args: []string{"--timeout", "500ms"}, want: []string{"not ready within 500ms", "pilot: starting does not answer yet"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, true)
			if c.set != nil {
				c.set(t, s)
			}
			s.own(t)
			code, output := s.run(t, s.upArgs(c.args...)...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			wantIn(t, output, c.want...)
		})
	}
}

// TestForbiddenNamespacesAreExplained runs the fleet where the kernel really refuses.
func TestForbiddenNamespacesAreExplained(t *testing.T) {
	for _, c := range []struct {
		who  string
		want []string
	}{
		{"user", []string{"does not let ordinary users make namespaces: ", "no space left on device", "what to do", "user.max_user_namespaces",
			"kernel.unprivileged_userns_clone", "kernel.apparmor_restrict_unprivileged_userns", "run this as root"}},
		{"root", []string{"does not let root make namespaces: ", "operation not permitted", "what to do", "CAP_SYS_ADMIN", "--privileged"}},
	} {
		t.Run(c.who, func(t *testing.T) {
			s := newSite(t, true)
			command := s.command(append([]string{"forbid", c.who, s.path("bin/outrigger")}, s.upArgs()...)...)
			command.Path = s.path("bin/standin")
			uid, gid := os.Geteuid(), os.Getegid()
			if uid == 0 {
				uid, gid = nobody, nobody
			}
			command.SysProcAttr = &syscall.SysProcAttr{
				Setpgid: true, Cloneflags: syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}},
				Credential:  &syscall.Credential{NoSetGroups: true},
			}
			code, output := finish(t, command)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			wantIn(t, output, c.want...)
		})
	}
}

// oldEnvoy puts an Envoy of another version in place.
func (s *site) oldEnvoy(t *testing.T) {
	t.Helper()
	script := "#!/bin/sh\necho envoy  version: 0000/1.39.2/Clean/RELEASE/BoringSSL\n"
	check(t, os.WriteFile(s.path("bin/envoy"), []byte(script), 0o755))
}
