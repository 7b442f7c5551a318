package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/front"
)

// defaultState is the state folder of commands that are not told another one.
const defaultState = ".outrigger"

// defaultEnvoy is where the set-up of the repository puts Envoy.
const defaultEnvoy = ".tools/envoy/" + front.EnvoyVersion + "/envoy"

const ingressName = "ingress"

func newUp(s streams) *cobra.Command {
	c := front.Config{File: "deploy/local/fleet.yaml", Bin: binFolder(), Envoy: defaultEnvoy, Timeout: 2 * time.Minute}
	var ingress uint16
	var publish []string
	command := &cobra.Command{
		Use:   "up",
		Short: "Run a whole mesh on this machine",
		Long: "Runs the services, gateways and workloads of a fleet file, each workload with a network of its own,\n" +
			"until it is interrupted. Nothing is left of it then.\n\n" +
			"Exit codes: 0 it was stopped, 1 it did not come up or broke, 2 usage.",
		Args: cobra.NoArgs,
		PreRunE: func(command *cobra.Command, _ []string) (err error) {
			if c.Timeout <= 0 {
				return &Exit{Code: exitUsage, Err: fmt.Errorf("--timeout %v: want more than 0", c.Timeout)}
			}
			if c.Ports, err = parsePorts(publish); err != nil {
				return &Exit{Code: exitUsage, Err: err}
			}
			if command.Flags().Changed("ingress-port") {
				c.Ports[ingressName] = ingress
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error { return up(c, s) },
	}
	flags := command.Flags()
	stateFlag(flags, &c.State, "folder that keeps certificates, configuration and logs")
	flags.StringVar(&c.File, "fleet", c.File, "fleet file: what to run")
	flags.StringVar(&c.Bin, "bin", c.Bin, "folder with the binaries of the services")
	flags.StringVar(&c.Envoy, "envoy", c.Envoy, "Envoy "+front.EnvoyVersion+" binary")
	flags.Uint16Var(&ingress, "ingress-port", 8080, "port of this machine for the ingress gateway; 0: any free one")
	flags.StringArrayVar(&publish, "publish", nil, "`NAME=PORT` for another published port of the fleet file; 0: any free one")
	flags.BoolVar(&c.FreePorts, "free-ports", false, "take any free port for all published ports that are not given")
	flags.DurationVar(&c.Timeout, "timeout", c.Timeout, "how long everything may take to become ready")
	flags.BoolVar(&c.Quiet, "quiet", false, "say nothing but that the fleet is ready, and errors")
	return command
}

// binFolder is where the command itself is: the services are built beside it.
func binFolder() string {
	self, err := os.Executable()
	if err != nil {
		return "bin"
	}
	return filepath.Dir(self)
}

func parsePorts(texts []string) (map[string]uint16, error) {
	ports := map[string]uint16{}
	for _, text := range texts {
		name, number, _ := strings.Cut(text, "=")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil || name == "" {
			return nil, fmt.Errorf("--publish %s: want NAME=PORT", text)
		}
		ports[name] = uint16(port)
	}
	return ports, nil
}

// sameRequest is how long further signals count as the same request: some senders
// signal a process and its group.
const sameRequest = time.Second

// insist cuts the end short at a signal that comes well after the first.
func insist(ctx context.Context, signals <-chan os.Signal, cut func()) {
	early := time.After(sameRequest)
	for {
		select {
		case <-early:
			early = nil
		case <-signals:
			if early == nil {
				cut()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// up runs until the first signal; a later one cuts the end short.
func up(c front.Config, s streams) error {
	signals := make(chan os.Signal, 2) // the two that count
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	force, cut := context.WithCancel(context.Background())
	defer cut()
	go func() {
		select {
		case <-signals:
			stop()
		case <-force.Done():
			return
		}
		insist(force, signals, cut)
	}()
	return front.Up(ctx, force, c, s.out)
}
