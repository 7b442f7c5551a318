// Command citadel-ca is the mesh's certificate authority.
package main

import (
	"context"
	"os"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	citadelca "github.com/outrigger-mesh/outrigger/services/citadel-ca"
)

const about = "citadel-ca signs short-lived certificates for workloads that prove who they are."

func main() {
	os.Exit(run.Main(func(ctx context.Context) error {
		cfg, err := conf.Load(citadelca.Name, about, os.Args[1:], citadelca.DefaultConfig())
		if err != nil {
			return err
		}
		return citadelca.Run(ctx, cfg)
	}))
}
