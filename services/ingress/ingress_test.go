package ingress_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/gateway/gatewaytest"
	"github.com/outrigger-mesh/outrigger/services/ingress"
)

func TestGateway(t *testing.T) { gatewaytest.Run(t, "./cmd/ingress", envoy.Ingress) }

func TestShippedConfigIsTaken(t *testing.T) {
	got, err := conf.Load(ingress.Name, "", []string{"--config", "../../deploy/config/ingress.yaml"}, ingress.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if want := ingress.DefaultConfig(); got.Envoy.Listen != want.Envoy.Listen || got.Listen.GRPC != want.Listen.GRPC {
		t.Errorf("shipped listens on %s and %s, default on %s and %s", got.Envoy.Listen, got.Listen.GRPC, want.Envoy.Listen, want.Listen.GRPC)
	}
}
