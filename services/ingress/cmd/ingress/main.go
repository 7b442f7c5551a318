// Command ingress is the gateway that brings requests from outside into the mesh.
package main

import (
	"context"
	"os"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/services/ingress"
)

const about = "ingress brings requests from outside into the mesh: it supervises an edge Envoy."

func main() {
	os.Exit(run.Main(func(ctx context.Context) error {
		cfg, err := conf.Load(ingress.Name, about, os.Args[1:], ingress.DefaultConfig())
		if err != nil {
			return err
		}
		return ingress.Run(ctx, cfg)
	}))
}
