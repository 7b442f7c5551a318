// Package ingress brings requests from outside into the mesh: it supervises an edge
// Envoy that pilot programs. In: Config. Out: a running gateway. Requests pass through
// Envoy only, which goes on while this service is away.
package ingress

import (
	"context"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/gateway"
)

// Name is the service's name: of its sockets, and in logs.
const Name = string(envoy.Ingress)

// Config is the service's settings.
type Config = gateway.Config

// DefaultConfig is ingress in the fleet of one machine.
func DefaultConfig() Config { return gateway.DefaultConfig(envoy.Ingress, 15040, 8080) }

// Run serves until ctx ends; then it drains and stops Envoy.
func Run(ctx context.Context, cfg Config) error { return gateway.Run(ctx, envoy.Ingress, cfg) }
