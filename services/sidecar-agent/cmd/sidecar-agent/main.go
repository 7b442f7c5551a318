// Command sidecar-agent runs the Envoy beside one workload.
package main

import (
	"context"
	"errors"
	"flag"
	"os"

	"github.com/outrigger-mesh/outrigger/internal/run"
	agent "github.com/outrigger-mesh/outrigger/services/sidecar-agent"
)

func main() {
	os.Exit(run.Main(func(ctx context.Context) error {
		config, err := agent.Load(os.Args[1:], os.Stdout)
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		if err != nil {
			return err
		}
		return agent.Run(ctx, config)
	}))
}
