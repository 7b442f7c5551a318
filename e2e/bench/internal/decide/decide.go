// Package decide is the policy server of the bare Envoys: as little as one can be. It
// lets every request pass and throws away what it is told. In: calls by Envoy's own
// protocols. Out: the same answer to all of them.
package decide

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Serve serves until ctx ends.
func Serve(ctx context.Context, address string, config *tls.Config) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	authv3.RegisterAuthorizationServer(server, checks{})
	accesslogv3.RegisterAccessLogServiceServer(server, logs{})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve %s: %w", address, err)
	}
	return nil
}

type checks struct {
	authv3.UnimplementedAuthorizationServer
}

func (checks) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status:       &statuspb.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}

type logs struct {
	accesslogv3.UnimplementedAccessLogServiceServer
}

func (logs) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		} else if err != nil {
			return err
		}
	}
}
