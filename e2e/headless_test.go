package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// The rule is for who means the service: by its name only v2 answers.
const headlessObjects = `apiVersion: outrigger.dev/v1
kind: Service
metadata: {name: each-http, namespace: default}
spec:
  ports: [{name: http, number: 9080, protocol: HTTP}]
  selector: {app: reviews}
  headless: true
---
apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: each-http-v2, namespace: default}
spec: {destination: {name: each-http}, precedence: 1, route: [{labels: {version: v2}}]}
`

const headlessFault = `apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: each-http-fault, namespace: default}
spec: {destination: {name: each-http}, precedence: 2, httpFault: {abort: {percent: 100, httpStatus: 418}}}
`

// TestHeadlessHTTP: a workload of a headless service is reached by its own address, by
// mTLS, whatever rules say of the service.
func TestHeadlessHTTP(t *testing.T) {
	s := common(t)
	hosts := map[string]string{} // names of the workloads by address
	for _, host := range must(s.Snapshot())(t).Hosts {
		if host.Service == "reviews" {
			hosts[host.Address] = host.Name
		}
	}
	for address := range hosts {
		// Of a workload that is only behind a service's address there is nothing to say.
		s.answers(t, address, address, http.StatusNotFound)
	}
	s.applyLive(t, write(t, "headless.yaml", headlessObjects))
	w := s.listenIn(t, appPort)
	each := func(t *testing.T) {
		t.Helper()
		for address, name := range hosts {
			for range 2 * len(hosts) { // more than chance would do
				if got := s.answers(t, address, address, http.StatusOK); got != name {
					t.Errorf("%s is %s and was answered by %q", address, name, got)
				}
			}
			s.answers(t, address, "unknown.example", http.StatusNotFound)
		}
	}
	each(t)
	for address := range hosts {
		if got := s.answers(t, address, "each-http", http.StatusOK); got != "reviews-v2" {
			t.Errorf("by the service's name %s answered; the rule says reviews-v2", got)
		}
	}
	check(t, w.collect(t.Context(), 100*time.Millisecond))
	var servers []netip.Addr
	for address := range hosts {
		servers = append(servers, must(netip.ParseAddr(address))(t))
	}
	check(t, w.secret(servers...))
	s.applyLive(t, write(t, "fault.yaml", headlessFault))
	each(t)
	s.answers(t, must(s.Host("reviews-v1"))(t).Address, "each-http", http.StatusTeapot)
	s.expect(t, 0, nil, "delete", "routerule", "each-http-v2", "each-http-fault")
	// Without a rule the name means all of them.
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		seen := map[string]bool{}
		for range 10 * len(hosts) {
			for address := range hosts {
				answer, err := s.review(ctx, address, "each-http")
				if err != nil {
					return err
				}
				seen[answer.pod] = true
			}
		}
		if len(seen) != len(hosts) {
			return fmt.Errorf("requests should go to all of %v, went to %v", hosts, seen)
		}
		return nil
	})
}

// reviewed is what came of a request for reviews.
type reviewed struct {
	status int
	pod    string // who answered
}

// review asks an address for reviews, from the front of the application.
func (s *site) review(ctx context.Context, address, host string) (reviewed, error) {
	door, err := s.Door("productpage-v1")
	if err != nil {
		return reviewed{}, err
	}
	url := "http://" + net.JoinHostPort(address, strconv.Itoa(appPort)) + "/reviews/0"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return reviewed{}, err
	}
	if host != address {
		request.Host = host
	}
	answer, err := mesh.Do(door.Client(10*time.Second), request)
	if err != nil {
		return reviewed{}, err
	}
	var doc struct {
		Pod string `json:"podname"`
	}
	if answer.Status == http.StatusOK {
		err = json.Unmarshal([]byte(answer.Body), &doc)
		if err == nil && doc.Pod == "" {
			err = errors.New("nobody signed")
		}
		if err == nil && strings.Contains(answer.Body, noRatings) {
			err = errors.New("the next hop failed")
		}
	}
	if err != nil {
		return reviewed{}, fmt.Errorf("reviews from %s: %w: %s", address, err, answer.Body)
	}
	return reviewed{answer.Status, doc.Pod}, nil
}

// answers asks an address once and returns who answered.
func (s *site) answers(t *testing.T, address, host string, status int) string {
	t.Helper()
	got := must(s.review(t.Context(), address, host))(t)
	if got.status != status {
		t.Errorf("%s asked for %s: status %d, want %d", address, host, got.status, status)
	}
	return got.pod
}
