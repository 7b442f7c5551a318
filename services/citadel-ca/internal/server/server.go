// Package server answers for the authority: it signs for callers who prove who they
// are, hands out the trust bundle, makes join tokens and says how it stands. In: calls
// of outrigger.ca.v1. Out: certificates, an audit line for each one and each refusal.
// What may be signed is decided by authn, csr and policy.
package server

import (
	"context"
	"crypto"
	"crypto/rand"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	cav1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/ca/v1"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/authn"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/csr"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/policy"
)

// MaxRequest bounds a request in bytes: a certificate request as large as may be,
// escaped in JSON, with a token.
const MaxRequest = 2*csr.MaxPEM + 1024

// Access says who may call what. Signing is open, because whoever asks for a first
// certificate has none to show: Sign authenticates its callers itself.
func Access() map[string]rpc.Access {
	return map[string]rpc.Access{
		cav1.AuthorityService_Sign_FullMethodName:      rpc.Open,
		cav1.AuthorityService_GetBundle_FullMethodName: rpc.Open,
	}
}

// redeemer knows join tokens and lets each be used once.
type redeemer interface {
	Find(name string) authn.Record
	Redeem(name string) error
	Release(name string) error
}

// minter remembers new join tokens.
type minter interface {
	Add(t authn.Token, rec authn.Record, now time.Time) error
}

// journal remembers what has been issued.
type journal interface {
	Issued(serial, id, token string, notAfter time.Time) error
	Count() uint64
}

// Ledger is what outlives the process.
type Ledger interface {
	redeemer
	minter
	journal
}

// Config is what a Server is told.
type Config struct {
	Rules    policy.Rules
	Domain   string
	Keystore string // its kind, for people
	// Rate and Burst bound the calls of one identity, or of one address without one:
	// so many a second, so many at once.
	Rate  float64
	Burst int
}

// Server implements cav1.AuthorityServiceServer. Safe for concurrent use.
type Server struct {
	cav1.UnimplementedAuthorityServiceServer

	cfg     Config
	custody *Custody
	ledger  Ledger
	now     func() time.Time
	log     *slog.Logger
	tracer  trace.Tracer
	stats   *stats
	limit   *limiter
	slots   chan struct{}
}

const (
	// maxSigning is how many signatures are under way at once. More would only wait
	// in Vault instead of here.
	maxSigning = 64
	// signTimeout bounds one certificate, a wait for a slot included.
	signTimeout = 10 * time.Second
)

// New returns a Server that signs with what custody holds and asks now for the time.
func New(cfg Config, custody *Custody, ledger Ledger, now func() time.Time, tel *telemetry.Telemetry) (*Server, error) {
	st, err := newStats(tel.Meter, custody)
	if err != nil {
		return nil, err
	}
	return &Server{
		cfg: cfg, custody: custody, ledger: ledger, now: now, log: tel.Log, tracer: tel.Tracer, stats: st,
		limit: newLimiter(cfg.Rate, cfg.Burst), slots: make(chan struct{}, maxSigning),
	}, nil
}

// Sign implements cav1.AuthorityServiceServer.
func (s *Server) Sign(ctx context.Context, req *cav1.SignRequest) (*cav1.SignResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	caller := rpc.CallerFrom(ctx)
	if !caller.Local && !s.limit.allow(limitKey(caller), s.now()) {
		s.stats.refuse(ctx, "rate")
		return nil, fault.Exhausted.Errorf("too many requests of this caller: %g a second, %d at once", s.cfg.Rate, s.cfg.Burst)
	}
	who, made, err := s.sign(ctx, caller.ID, req)
	if err != nil {
		s.stats.refuse(ctx, fault.Of(err).String())
		s.auditRefusal(caller, who, err)
		return nil, hide(err)
	}
	return made, nil
}

// GetBundle implements cav1.AuthorityServiceServer.
func (s *Server) GetBundle(context.Context, *cav1.GetBundleRequest) (*cav1.GetBundleResponse, error) {
	store, err := s.custody.Current()
	if err != nil {
		return nil, err
	}
	return &cav1.GetBundleResponse{BundlePem: string(store.Authority().BundlePEM()), TrustDomain: s.cfg.Domain}, nil
}

// CreateJoinToken implements cav1.AuthorityServiceServer.
func (s *Server) CreateJoinToken(ctx context.Context, req *cav1.CreateJoinTokenRequest) (*cav1.CreateJoinTokenResponse, error) {
	id, err := spiffe.Parse(req.GetId())
	if err != nil {
		return nil, fault.Invalid.Wrap(err, "id")
	}
	ttl, err := duration(req.GetTtl())
	if err != nil {
		return nil, err
	}
	now := s.now()
	rec, err := s.cfg.Rules.Token(id, ttl, now)
	if err != nil {
		return nil, err
	}
	var random [authn.Entropy]byte
	rand.Read(random[:]) //nolint:errcheck // documented never to fail
	token, text := authn.New(random)
	if err := s.ledger.Add(token, rec, now); err != nil {
		return nil, err
	}
	s.log.Info("join token made", "token", token.Name(), "id", id.String(), "expires", rec.Expires, telemetry.Peer(rpc.CallerFrom(ctx).String()))
	return &cav1.CreateJoinTokenResponse{Token: text, ExpiresAt: timestamppb.New(rec.Expires)}, nil
}

// GetStatus implements cav1.AuthorityServiceServer.
func (s *Server) GetStatus(context.Context, *cav1.GetStatusRequest) (*cav1.GetStatusResponse, error) {
	res := &cav1.GetStatusResponse{
		TrustDomain: s.cfg.Domain, Keystore: s.cfg.Keystore, Issued: s.ledger.Count(), Refused: s.stats.no.Load(),
	}
	store, err := s.custody.Current()
	if err != nil {
		return res, nil //nolint:nilerr // the status of an authority that waits for its key has no key
	}
	a := store.Authority()
	res.KeyFingerprint, res.CaNotAfter = a.Fingerprint(), timestamppb.New(a.Window().NotAfter)
	return res, nil
}

// Own signs a certificate for the authority itself, as soon as its key is open. It
// implements identity.Signer.
func (s *Server) Own(ctx context.Context, key crypto.PublicKey) (chainPEM, bundlePEM []byte, err error) {
	store, err := s.custody.Wait(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	a := store.Authority()
	grant, err := s.cfg.Rules.Own(key, 0, a.Window(), s.now())
	if err != nil {
		return nil, nil, err
	}
	made, err := issue.Leaf(grant, a, store.Signer(ctx), serial())
	if err != nil {
		return nil, nil, err
	}
	s.auditIssued(ctx, authn.Caller{ID: grant.ID}, made, "itself")
	return made.ChainPEM, a.BundlePEM(), nil
}
