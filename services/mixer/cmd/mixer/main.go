// Command mixer answers checks and takes reports; see package mixer.
package main

import (
	"context"
	"os"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/services/mixer"
)

func main() {
	os.Exit(run.Main(func(ctx context.Context) error {
		cfg, err := conf.Load("mixer", "answers policy checks and takes reports", os.Args[1:], mixer.DefaultConfig())
		if err != nil {
			return err
		}
		return mixer.Run(ctx, cfg, os.Stdout, os.Stderr)
	}))
}
