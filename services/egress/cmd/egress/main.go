// Command egress is the gateway that carries the mesh's requests to hosts outside of it.
package main

import (
	"context"
	"os"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/services/egress"
)

const about = "egress carries the mesh's requests to hosts outside of it: it supervises an edge Envoy."

func main() {
	os.Exit(run.Main(func(ctx context.Context) error {
		cfg, err := conf.Load(egress.Name, about, os.Args[1:], egress.DefaultConfig())
		if err != nil {
			return err
		}
		return egress.Run(ctx, cfg)
	}))
}
