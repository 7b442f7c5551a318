package front

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/supervise"
)

// EnvoyVersion is the one Envoy that the fleet is made for.
const EnvoyVersion = "1.40.0"

const versionTimeout = 20 * time.Second

// maxSocketPath is what the kernel takes as the path of a Unix socket, in bytes.
const maxSocketPath = 107

// preflight looks for what would stop the fleet later, and says it now.
func preflight(ctx context.Context, c Config, r resolved) error {
	if err := checkPrograms(r.plan); err != nil {
		return err
	}
	if err := checkSocketPaths(r.plan); err != nil {
		return err
	}
	limit, err := openFiles()
	if err != nil {
		return err
	}
	if err := checkOpenFiles(r.plan, limit); err != nil {
		return err
	}
	if r.plan.Root {
		if err := checkReadable(r.plan); err != nil {
			return err
		}
	}
	if !r.file.UsesEnvoy {
		return nil
	}
	return checkEnvoy(ctx, c.Envoy)
}

// openFiles is how many files a process may have open. The runtime has raised it as
// far as it may be.
func openFiles() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	return limit.Cur, nil
}

// checkOpenFiles makes sure that the published ports cannot use up the descriptors
// of the processes that carry their connections.
func checkOpenFiles(plan fleet.Plan, limit uint64) error {
	_, err1 := placesOf(plan, limit)
	_, err2 := supervise.Places(plan, limit)
	if err := errors.Join(err2, err1); err != nil {
		return &Refusal{
			Problem: "the limit of open files is too low", Cause: err,
			Advice: "raise the hard limit, for example with `ulimit -Hn 65536` as root, in limits.conf or in the service's unit (LimitNOFILE)",
		}
	}
	return nil
}

func checkPrograms(plan fleet.Plan) error {
	seen := map[string]bool{}
	var missing []string
	for _, p := range plan.Processes {
		if seen[p.Path] {
			continue
		}
		seen[p.Path] = true
		info, err := os.Stat(p.Path)
		if err != nil || info.IsDir() || info.Mode().Perm()&0o111 == 0 {
			missing = append(missing, fmt.Sprintf("%s (for %s)", p.Path, p.Name))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &Refusal{Problem: "no program at " + strings.Join(missing, ", "), Advice: "build with `make build`, or name the folder of the binaries with --bin"}
}

func checkSocketPaths(plan fleet.Plan) error {
	run := filepath.Join(plan.State, fleet.RunFolder)
	longest := filepath.Join(run, fleet.ControlSocket)
	consider := func(path string) {
		if len(path) > len(longest) {
			longest = path
		}
	}
	for _, p := range plan.Publish {
		consider(filepath.Join(run, fleet.ForwardFolder, p.Name+".sock"))
	}
	for _, p := range plan.Processes {
		if p.Kind == fleet.KindService {
			consider(filepath.Join(run, p.Name+".grpc.sock"))
		}
	}
	if len(longest) <= maxSocketPath {
		return nil
	}
	return &Refusal{
		Problem: fmt.Sprintf("the path of the state folder is too long: the socket %s would have %d characters, %d are possible", longest, len(longest), maxSocketPath),
		Advice:  "name a folder with a shorter path with --state",
	}
}

// checkReadable makes sure that uids other than root's can use the programs and
// the configuration.
func checkReadable(plan fleet.Plan) error {
	var closed []string
	look := func(path string, want fs.FileMode) {
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm()&want != want && !slices.Contains(closed, path) {
			closed = append(closed, path)
		}
	}
	for _, folder := range plan.Inside {
		if folder != plan.State {
			look(folder, 0o001)
		}
	}
	for _, p := range plan.Processes {
		look(p.Path, 0o001)
	}
	if len(closed) == 0 {
		return nil
	}
	return &Refusal{
		Problem: "as root the services run under uids of their own, which cannot get at " + strings.Join(closed, ", "),
		Advice:  "chmod o+rx " + strings.Join(closed, " "),
	}
}

var versionText = regexp.MustCompile(`/(\d+\.\d+\.\d+)[-/]`)

func checkEnvoy(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	said, err := exec.CommandContext(ctx, path, "--version").Output()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return envoyRefusal(path, fmt.Errorf("it did not say its version within %s", versionTimeout))
	}
	if err != nil {
		return envoyRefusal(path, err)
	}
	found := versionText.FindSubmatch(said)
	if found == nil {
		return envoyRefusal(path, errors.New("it does not say its version"))
	}
	if version := string(found[1]); version != EnvoyVersion {
		return envoyRefusal(path, fmt.Errorf("it is version %s, not %s", version, EnvoyVersion))
	}
	return nil
}

func envoyRefusal(path string, err error) error {
	return &Refusal{
		Problem: "Envoy at " + path + " cannot be used", Cause: err,
		Advice: "install Envoy " + EnvoyVersion + " with `make setup`, or name its binary with --envoy",
	}
}
