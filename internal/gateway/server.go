package gateway

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"
)

// server implements GatewayService.
type server struct {
	gatewayv1.UnimplementedGatewayServiceServer
	proxy *proxy
}

// GetStatus tells what Envoy said last.
func (s *server) GetStatus(context.Context, *gatewayv1.GetStatusRequest) (*gatewayv1.GetStatusResponse, error) {
	state, waiting := s.proxy.state()
	out := &gatewayv1.GetStatusResponse{
		Ready: waiting == "", WaitingFor: waiting, EnvoyVersion: state.Version, EnvoyState: state.Info.State,
		AcknowledgedRevision: state.Acknowledged(),
	}
	if c := s.proxy.source.Current(); c != nil {
		out.CertificateNotAfter = timestamppb.New(c.NotAfter)
	}
	for _, l := range state.Listeners {
		out.Listeners = append(out.Listeners, l.Name+" "+l.Address.String())
	}
	return out, nil
}

// Drain takes the gateway out of service: it is not ready from now on, and Envoy
// finishes what it has. Draining again changes nothing.
func (s *server) Drain(ctx context.Context, _ *gatewayv1.DrainRequest) (*gatewayv1.DrainResponse, error) {
	if s.proxy.drains(true) {
		return &gatewayv1.DrainResponse{}, nil
	}
	if err := s.proxy.process.Drain(ctx); err != nil {
		s.proxy.drains(false)
		return nil, fault.Unavailable.Wrap(err, "drain")
	}
	return &gatewayv1.DrainResponse{}, nil
}
