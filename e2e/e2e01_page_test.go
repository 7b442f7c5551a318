package e2e

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// appPort is where every service of the sample application listens.
const appPort = 9080

// TestE2E01ProductPage: the page comes through the ingress, every hop is mTLS between
// sidecars with certificates of citadel-ca by SDS, and peers are who they should be.
func TestE2E01ProductPage(t *testing.T) {
	s := common(t)
	t.Run("the page is whole and all versions take turns", s.testPage)
	t.Run("nothing on the wire can be read", s.testWire)
	t.Run("sidecars show certificates of citadel-ca", s.testCertificates)
	t.Run("a caller from elsewhere is refused", s.testForeignCaller)
	t.Run("a server of another account is refused", s.testImpostor)
	t.Run("a caller without identity is served in plain text", s.testPlainCaller)
}

func (s *site) testPage(t *testing.T) {
	versions := map[string]bool{}
	eventually(t, 5*time.Second, func(ctx context.Context) error {
		p, err := s.page(ctx, "")
		if err != nil {
			return err
		}
		if p.NoDetails || p.NoReviews || p.NoRatings || p.Hops["details"] != "answered" || p.Hops["reviews"] != "answered" {
			t.Errorf("the page has holes: %s", p)
		}
		versions[p.Reviews] = true
		if !versions["v1"] || !versions["v2"] || !versions["v3"] {
			return fmt.Errorf("without rules all versions of reviews take turns; seen: %v", versions)
		}
		return nil
	})
}

func (s *site) testWire(t *testing.T) {
	snapshot := must(s.Snapshot())(t)
	hosts := []netip.Addr{must(netip.ParseAddr(snapshot.Hub))(t)}
	for _, host := range snapshot.Hosts {
		if host.Sidecar {
			hosts = append(hosts, must(netip.ParseAddr(host.Address))(t))
		}
	}
	w := s.listenIn(t, appPort)
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		for range 6 { // every version of reviews
			if _, err := s.page(ctx, "somebody"); err != nil {
				return err
			}
		}
		if err := w.collect(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		return w.secret(hosts...)
	})
	// That plain text would have been seen: the machine beside the mesh speaks it.
	outside := must(s.Host(outsideHost))(t)
	door := must(s.Door("hub"))(t)
	must(door.Get(t.Context(), "http://"+net.JoinHostPort(outside.Address, outsidePort)+"/details/0"))(t)
	check(t, w.collect(t.Context(), 100*time.Millisecond))
	if w.secret() == nil {
		t.Error("plain HTTP crossed the network and was not noticed: this test cannot see")
	}
}

func (s *site) testCertificates(t *testing.T) {
	door := must(s.Door("hub"))(t)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(must(s.Bundle(t.Context()))(t))) {
		t.Fatal("citadel-ca's bundle holds no certificate")
	}
	caller := must(s.Identity(t.Context(), mesh.AccountID("default", "bookinfo-productpage")))(t)
	for _, host := range must(s.Snapshot())(t).Hosts {
		if !host.Sidecar {
			continue
		}
		shown, err := knock(t.Context(), door, net.JoinHostPort(host.Address, fmt.Sprint(appPort)), "/health", clientTLS(&caller))
		if err != nil {
			t.Errorf("%s: a caller of the mesh is not served: %v", host.Name, err)
			continue
		}
		if err := isOf(shown, mesh.AccountID(host.Namespace, host.Account), roots); err != nil {
			t.Errorf("%s: %v", host.Name, err)
		}
		secrets, err := s.Envoy(host.Name).Get(t.Context(), "/config_dump?resource=dynamic_active_secrets")
		if err != nil || !strings.Contains(secrets, "last_updated") {
			t.Errorf("%s: no secret came by SDS: %v: %s", host.Name, err, secrets)
		}
	}
}

// isOf is nil for a chain that leads to the roots and is of one identity only.
func isOf(chain []*x509.Certificate, id string, roots *x509.CertPool) error {
	if len(chain) == 0 {
		return errors.New("no certificate was shown")
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: usages}); err != nil {
		return fmt.Errorf("not signed by citadel-ca: %w", err)
	}
	var names []string
	for _, uri := range chain[0].URIs {
		names = append(names, uri.String())
	}
	if !slices.Equal(names, []string{id}) {
		return fmt.Errorf("certificate of %v, want %s", names, id)
	}
	if life := chain[0].NotAfter.Sub(chain[0].NotBefore); life > 49*time.Hour {
		return fmt.Errorf("the certificate lives for %v", life)
	}
	return nil
}

func (s *site) testForeignCaller(t *testing.T) {
	door := must(s.Door("hub"))(t)
	host := must(s.Host("ratings-v1"))(t)
	address := net.JoinHostPort(host.Address, fmt.Sprint(appPort))
	good := must(s.Identity(t.Context(), mesh.AccountID("default", "bookinfo-reviews")))(t)
	if _, err := knock(t.Context(), door, address, "/ratings/0", clientTLS(&good)); err != nil {
		t.Fatalf("a caller of the mesh is not served, so that refusals prove nothing: %v", err)
	}
	for name, id := range map[string]string{
		"another trust domain":                    "spiffe://elsewhere.example/ns/default/sa/bookinfo-reviews",
		"our trust domain, signed by another one": mesh.AccountID("default", "bookinfo-reviews"),
	} {
		foreign := must(mesh.Foreign(id))(t)
		if _, err := knock(t.Context(), door, address, "/ratings/0", clientTLS(&foreign)); refusedByTLS(err) != nil {
			t.Errorf("%s: %v", name, refusedByTLS(err))
		}
	}
	if _, err := knock(t.Context(), door, address, "/ratings/0", clientTLS(nil)); refusedByTLS(err) != nil {
		t.Errorf("TLS without a certificate: %v", refusedByTLS(err))
	}
}

func (s *site) testImpostor(t *testing.T) {
	reviews := mesh.AccountID("default", "bookinfo-reviews")
	hub := must(s.Snapshot())(t).Hub
	rules := write(t, "impostor.yaml", impostorObjects(hub))
	s.applyLive(t, rules)
	defer s.expect(t, 0, nil, "delete", "-f", rules)
	for name, identity := range map[string]func() (mesh.Identity, error){
		"another account": func() (mesh.Identity, error) {
			return s.Identity(t.Context(), mesh.AccountID("default", "bookinfo-details"))
		},
		"another trust domain": func() (mesh.Identity, error) {
			return mesh.Foreign("spiffe://elsewhere.example/ns/default/sa/bookinfo-reviews")
		},
		"another root": func() (mesh.Identity, error) { return mesh.Foreign(reviews) },
	} {
		t.Run(name, func(t *testing.T) {
			i := startImpostor(t, s, must(identity())(t))
			eventually(t, 5*time.Second, func(ctx context.Context) error {
				p, err := s.page(ctx, "")
				switch {
				case err != nil:
					return err
				case i.handshakes.Load() == 0:
					return fmt.Errorf("nobody has come to the impostor: %s", p)
				case !p.NoReviews:
					return fmt.Errorf("the page has reviews: %s", p)
				}
				return nil
			})
			if n := i.served.Load(); n > 0 {
				t.Errorf("the impostor was sent %d requests", n)
			}
		})
	}
	t.Run("the service's own account is believed", func(t *testing.T) {
		i := startImpostor(t, s, must(s.Identity(t.Context(), reviews))(t))
		eventually(t, 5*time.Second, func(ctx context.Context) error {
			version, _, err := s.reviews(ctx, "")
			if err == nil && version != "impostor" {
				err = fmt.Errorf("reviews %s answered", version)
			}
			return err
		})
		if i.served.Load() == 0 {
			t.Error("the page was made without asking it")
		}
	})
}

// testPlainCaller: until a service says otherwise, those that have no sidecar are served
// too.
func (s *site) testPlainCaller(t *testing.T) {
	host := must(s.Host("ratings-v1"))(t)
	door := must(s.Door(outsideHost))(t)
	answer := must(door.Get(t.Context(), "http://"+net.JoinHostPort(host.Address, fmt.Sprint(appPort))+"/ratings/0"))(t)
	if answer.Status != http.StatusOK || answer.Header.Get("server") != "envoy" {
		t.Errorf("from a machine without a sidecar: status %d from %q: %s", answer.Status, answer.Header.Get("server"), answer.Body)
	}
	// What no service declares is closed.
	if answer, err := door.Get(t.Context(), "http://"+net.JoinHostPort(host.Address, "9999")+"/"); err == nil {
		t.Errorf("a port that no service declares answers %d: %s", answer.Status, answer.Body)
	}
}
