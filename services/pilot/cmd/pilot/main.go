// Command pilot takes in config, watches registries, and programs the proxies.
package main

import (
	"context"
	"os"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/services/pilot"
)

func main() {
	os.Exit(run.Main(func(ctx context.Context) error {
		cfg, err := conf.Load("pilot", "pilot takes in config, watches registries, and programs the proxies.", os.Args[1:], pilot.DefaultConfig())
		if err != nil {
			return err
		}
		return pilot.Run(ctx, cfg)
	}))
}
