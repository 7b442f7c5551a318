// Package egress carries the mesh's requests to hosts outside of it: it supervises an edge
// Envoy that pilot programs. In: Config. Out: a running gateway. Requests pass through
// Envoy only, which goes on while this service is away.
package egress

import (
	"context"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/gateway"
)

// Name is the service's name: of its sockets, and in logs.
const Name = string(envoy.Egress)

// Config is the service's settings.
type Config = gateway.Config

// DefaultConfig is egress in the fleet of one machine.
func DefaultConfig() Config { return gateway.DefaultConfig(envoy.Egress, 15050, 15080) }

// Run serves until ctx ends; then it drains and stops Envoy.
func Run(ctx context.Context, cfg Config) error { return gateway.Run(ctx, envoy.Egress, cfg) }
