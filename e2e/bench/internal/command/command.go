// Package command is the benchmark's command line. In: arguments. Out: the table, or
// what one of the hosts' programs does.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/bare"
	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/decide"
	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/figure"
	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/measure"
	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/probe"
	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// usage is an error in the arguments.
type usage struct{ error }

// Code returns the exit code for an error: 2 for arguments, else 1.
func Code(err error) int {
	if errors.As(err, &usage{}) {
		return 2
	}
	return 1
}

// Run does what the arguments say until it is done or interrupted.
func Run(args []string, out, progress io.Writer) error {
	if was, err := mesh.ServeDoor(); was {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) > 0 {
		switch args[0] {
		case "send":
			return beside(ctx, args, "control", orders())
		case "serve":
			return beside(ctx, args, "listen", probe.Answer())
		case "decide":
			return decideAt(ctx, args)
		}
	}
	return bench(ctx, args, out, progress)
}

// decideAt serves as the bare Envoys' policy server at the address in a flag.
func decideAt(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	at := flags.String("listen", "", "`address` to listen on")
	path := flags.String("identity", "", "`file` of its certificate and key")
	if err := flags.Parse(args[1:]); err != nil {
		return usage{err}
	}
	text, err := os.ReadFile(*path)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	var identity bare.Identity
	if err := json.Unmarshal(text, &identity); err != nil {
		return fmt.Errorf("identity %s: %w", *path, err)
	}
	config, err := identity.ServerTLS()
	if err != nil {
		return err
	}
	return decide.Serve(ctx, *at, config)
}

func orders() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+probe.OrdersPath, &probe.Sender{})
	return mux
}

// beside serves a handler at the address in a flag, with an Envoy beside it if asked.
func beside(ctx context.Context, args []string, address string, handler http.Handler) error {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	at := flags.String(address, "", "`address` to listen on")
	var envoy probe.Beside
	flags.StringVar(&envoy.Envoy, "envoy", "", "`binary` to run beside; empty for none")
	flags.StringVar(&envoy.Config, "config", "", "its configuration `file`")
	if err := flags.Parse(args[1:]); err != nil {
		return usage{err}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop()
		if envoy.Envoy == "" {
			<-ctx.Done()
			ended <- nil
			return
		}
		ended <- envoy.Run(ctx)
	}()
	err := probe.Serve(ctx, *at, handler)
	stop()
	return errors.Join(err, <-ended)
}

// parts are what -only chooses from.
const parts = "path,starts,changes,memory"

// maxRate is far beyond what the senders can do.
const maxRate = 100_000

func bench(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(progress)
	quick := flags.Bool("quick", false, "measure for some minutes: fewer requests, and memory a minute after the start")
	output := flags.String("o", "table", "`format`: table or json")
	only := flags.String("only", parts, "`parts` to measure, with commas between")
	runs := flags.Int("runs", 0, "`number` of runs; 0 for five")
	rate := flags.Int("rate", 0, "requests per `second` through the proxies; 0 for 1000")
	patience := flags.Duration("patience", 0, "for this `time` slices are measured again in which the machine was held up; 0 for 30 minutes, five with -quick")
	if err := flags.Parse(args); err != nil {
		return usage{err}
	}
	chosen := strings.Split(*only, ",")
	switch {
	case flags.NArg() > 0:
		return usage{fmt.Errorf("%q: no argument is taken", flags.Arg(0))}
	case *output != "table" && *output != "json":
		return usage{fmt.Errorf("-o is table or json, not %q", *output)}
	case slices.ContainsFunc(chosen, func(p string) bool { return !slices.Contains(strings.Split(parts, ","), p) }):
		return usage{fmt.Errorf("-only %s: choose from %s", *only, parts)}
	case *runs < 0:
		return usage{fmt.Errorf("-runs %d: want 1 or more", *runs)}
	case *rate < 0 || *rate > maxRate:
		return usage{fmt.Errorf("-rate %d: want 1 to %d", *rate, maxRate)}
	case *patience < 0:
		return usage{fmt.Errorf("-patience %s: want a positive time", *patience)}
	}
	cfg, err := config(*quick, progress)
	if err != nil {
		return err
	}
	cfg.Path, cfg.Starts = slices.Contains(chosen, "path"), slices.Contains(chosen, "starts")
	cfg.Changes, cfg.Memory = slices.Contains(chosen, "changes"), slices.Contains(chosen, "memory")
	if *runs > 0 {
		cfg.Runs = *runs
	}
	if *rate > 0 {
		cfg.Rate = *rate
	}
	if *patience > 0 {
		cfg.Patience = *patience
	}
	rows, err := measure.Run(ctx, cfg)
	if len(rows) > 0 {
		write := figure.Write
		if *output == "json" {
			write = figure.WriteJSON
		}
		err = errors.Join(err, write(out, rows))
	}
	return err
}

func config(quick bool, progress io.Writer) (measure.Config, error) {
	root, err := mesh.FindRoot()
	if err != nil {
		return measure.Config{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return measure.Config{}, err
	}
	if quick {
		return measure.Quick(root, self, progress), nil
	}
	return measure.Whole(root, self, progress), nil
}
