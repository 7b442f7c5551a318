package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
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

// sign follows one request: who asks, what for, whether it is granted, and only then
// the key. It returns the caller as far as that is known.
func (s *Server) sign(ctx context.Context, shown spiffe.ID, req *cav1.SignRequest) (authn.Caller, *cav1.SignResponse, error) {
	now := s.now()
	who, err := s.authenticate(shown, req.GetJoinToken(), now)
	if err != nil {
		return who, nil, err
	}
	asked, err := csr.Parse(req.GetCsrPem())
	if err != nil {
		return who, nil, err
	}
	ttl, err := duration(req.GetTtl())
	if err != nil {
		return who, nil, err
	}
	store, err := s.custody.Current()
	if err != nil {
		return who, nil, err
	}
	a := store.Authority()
	grant, err := s.cfg.Rules.Decide(who, asked, ttl, a.Window(), now)
	if err != nil {
		return who, nil, err
	}
	made, err := s.make(ctx, who, grant, store)
	if err != nil {
		return who, nil, err
	}
	return who, &cav1.SignResponse{
		ChainPem: string(made.ChainPEM), BundlePem: string(a.BundlePEM()), NotAfter: timestamppb.New(made.Leaf.NotAfter),
	}, nil
}

// authenticate finds out who asks. A token that is shown counts, with a certificate
// beside it or without.
func (s *Server) authenticate(shown spiffe.ID, text string, now time.Time) (authn.Caller, error) {
	if text == "" {
		return authn.Certificate(shown)
	}
	token, err := authn.ParseToken(text)
	if err != nil {
		return authn.Caller{}, err
	}
	who, err := authn.Holder(token, s.ledger.Find(token.Name()), shown, now)
	if err != nil {
		return authn.Caller{Token: token.Name()}, err
	}
	return who, nil
}

// make redeems the caller's token, signs, and writes down what was issued. The token
// is used before the key is, so that no crash gives two certificates for one token;
// it is given back if there is no certificate.
func (s *Server) make(ctx context.Context, who authn.Caller, grant policy.Grant, store signing) (issue.Issued, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return issue.Issued{}, fault.Unavailable.Wrap(ctx.Err(), "waiting for others' signatures")
	}
	proof := "certificate"
	if who.Token != "" {
		proof = "token"
		if err := s.ledger.Redeem(who.Token); err != nil {
			return issue.Issued{}, err
		}
	}
	made, err := s.use(ctx, grant, store)
	if err != nil {
		if who.Token != "" {
			err = errors.Join(err, s.ledger.Release(who.Token))
		}
		return issue.Issued{}, err
	}
	s.auditIssued(ctx, who, made, proof)
	return made, nil
}

// errKey is what callers hear of a key that cannot be used now: the rest is for the
// operator.
var errKey = fault.Unavailable.Errorf("the authority's key cannot be used now")

func (s *Server) use(ctx context.Context, grant policy.Grant, store signing) (issue.Issued, error) {
	ctx, span := s.tracer.Start(ctx, "keystore.sign")
	defer span.End()
	began := time.Now()
	made, err := issue.Leaf(grant, store.Authority(), store.Signer(ctx), serial())
	s.stats.signed(ctx, began, err == nil)
	if err != nil {
		span.RecordError(err)
		return issue.Issued{}, fmt.Errorf("%w: %w", errKey, err)
	}
	return made, nil
}

// hide leaves of an error about the key only that it is one.
func hide(err error) error {
	if errors.Is(err, errKey) {
		return errKey
	}
	return err
}

// auditIssued writes down a certificate that was made. That it cannot be written to
// the ledger does not take it back: the log has it, and a full disk must not end all
// identities of the mesh.
func (s *Server) auditIssued(ctx context.Context, who authn.Caller, made issue.Issued, proof string) {
	number := fmt.Sprintf("%032x", made.Leaf.SerialNumber)
	if err := s.ledger.Issued(number, who.ID.String(), who.Token, made.Leaf.NotAfter); err != nil {
		s.log.Error("certificate not written to the ledger", "serial", number, "error", err)
	}
	s.stats.yes(ctx, proof)
	s.log.Info("certificate issued", "id", who.ID.String(), "serial", number, "not_after", made.Leaf.NotAfter,
		"proof", proof, "token", who.Token, "address", rpc.CallerFrom(ctx).Address)
}

// maxReason bounds the text of a refusal in the log: parts of it come from the caller.
const maxReason = 512

func (s *Server) auditRefusal(caller rpc.Caller, who authn.Caller, err error) {
	reason := err.Error()
	s.log.Warn("certificate refused", telemetry.Peer(caller.String()), "id", who.ID.String(), "token", who.Token,
		"address", caller.Address, "kind", fault.Of(err).String(), "error", reason[:min(len(reason), maxReason)])
}

func serial() *big.Int {
	var random [issue.SerialBytes]byte
	rand.Read(random[:]) //nolint:errcheck // documented never to fail
	return issue.Serial(random)
}

// duration reads an optional duration; none is 0.
func duration(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, fault.Invalid.Wrap(err, "ttl")
	}
	return d.AsDuration(), nil
}
