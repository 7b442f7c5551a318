// Package citadelca is citadel-ca, the mesh's certificate authority: it signs
// short-lived certificates for workloads that prove who they are. In: Config. Out: a
// running service. It needs neither bus nor pilot to start; what its key store needs
// may be away at the start and while it runs.
package citadelca

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/rest"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	cav1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/ca/v1"
	"github.com/outrigger-mesh/outrigger/proto/gen/openapi"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/ledger"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/server"
)

// Name is the service's name: of its sockets, and in logs.
const Name = "citadel-ca"

// Run serves until ctx ends. Errors before it serves: settings that are wrong, a state
// folder that is damaged, in use or of another trust domain. Later: a key that needs
// the operator.
func Run(ctx context.Context, cfg Config) (err error) {
	set, err := cfg.check()
	if err != nil {
		return err
	}
	tel, err := telemetry.New(cfg.Telemetry, Name)
	if err != nil {
		return err
	}
	open, err := cfg.store(set.id, tel.Log)
	if err != nil {
		return err
	}
	book, err := ledger.Open(filepath.Join(cfg.State, "ledger"), cfg.TrustDomain, time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, book.Close()) }()

	custody := server.NewCustody(open, tel.Log)
	authority, err := server.New(server.Config{
		Rules: set.rules, Domain: cfg.TrustDomain, Keystore: cfg.Keystore.Kind, Rate: cfg.Limit.Rate, Burst: cfg.Limit.Burst,
	}, custody, book, time.Now, tel)
	if err != nil {
		return err
	}
	own := identity.NewLocal(set.id, authority.Own, tel.Log)
	tls := own.ServerTLS(false)

	listen := cfg.Listen
	listen.MaxRequest = server.MaxRequest
	grpc, err := rpc.NewServer(Name, listen, tls, server.Access(), tel)
	if err != nil {
		return err
	}
	cav1.RegisterAuthorityServiceServer(grpc.GRPC(), authority)
	ready := func() error { return readiness(custody, book, own) }
	web, err := rest.NewServer(listen, grpc, tls, tel, rest.API{
		Register: []rest.Register{cav1.RegisterAuthorityServiceHandler}, OpenAPI: []byte(openapi.CA), Ready: ready,
	})
	if err != nil {
		return err
	}

	var g run.Group
	g.Add("telemetry", tel.Run)
	g.Add("authority", custody.Run)
	g.Add("identity", own.Run)
	g.Add("grpc", grpc.Run)
	g.Add("rest", web.Run)
	return g.Run(ctx)
}

// readiness is nil when a certificate asked for now would be signed, as far as that is
// known.
func readiness(custody *server.Custody, book *ledger.Ledger, own *identity.Local) error {
	if err := custody.Ready(); err != nil {
		return err
	}
	if err := book.Broken(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if what := own.Waiting(); what != "" {
		return errors.New(what)
	}
	return nil
}
