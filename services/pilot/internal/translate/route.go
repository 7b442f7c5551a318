package translate

import (
	"slices"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// caller is what a route table depends on beside the services: who calls.
type caller struct {
	namespace string
	// view tells callers apart that get different tables by the same name: the rules that
	// some have and others do not. It is no part of the name: a listener that had to change
	// with it would close the connections of requests under way.
	view string
	// hosts and labels are what match.source is compared with.
	hosts  []string
	labels map[string]string
}

// callerOf returns who p is to the rules. Callers that the same source-bound rules
// concern have the same view.
func (s *Set) callerOf(p Proxy) caller {
	c := caller{namespace: p.Workload.Ref.Namespace, labels: p.Workload.Labels}
	if p.Role == Sidecar {
		for _, svc := range s.Snapshot.ServicesOf(p.Workload) {
			c.hosts = append(c.hosts, svc.Host)
		}
	} else {
		c.hosts = []string{model.HostName(p.Workload.Ref.Name, c.namespace, s.Snapshot.Settings.Domain)}
	}
	var bound []string
	for _, svc := range s.Snapshot.Services {
		for _, r := range s.Snapshot.Routes(svc.Host) {
			if (r.SourceHost != "" || r.SourceLabels != "") && c.concerns(r) {
				bound = append(bound, r.Ref.String())
			}
		}
	}
	if bound != nil {
		c.view = hash(strings.Join(bound, ","))
	}
	return c
}

// concerns reports whether r is for this caller.
func (c caller) concerns(r *model.Route) bool {
	return (r.SourceHost == "" || slices.Contains(c.hosts, r.SourceHost)) && r.SourceLabels.SubsetOf(c.labels)
}

// rules returns the rules for a host that this caller has, up to the first one that
// takes every request.
func (s *Set) rules(c caller, host string) []*model.Route {
	var out []*model.Route
	for _, r := range s.Snapshot.Routes(host) {
		if c.concerns(r) {
			out = append(out, r)
			if r.Unconditional() {
				return out
			}
		}
	}
	return append(out, &model.Route{Host: host, Targets: []model.Target{{Host: host, Weight: 100}}})
}

// routeTable adds the routes of one outbound port and returns the table's name.
func (s *Set) routeTable(w *Wants, c caller, port uint32) string {
	name := strconv.FormatUint(uint64(port), 10) + "@" + c.namespace
	var print strings.Builder
	for _, svc := range s.Snapshot.Services {
		if p, ok := svc.Port(port); ok && p.HTTP() {
			print.WriteString(svc.Version + ";")
			for _, r := range s.Snapshot.Routes(svc.Host) {
				print.WriteString(r.Ref.String() + strconv.FormatUint(r.Revision, 10) + ",")
			}
		}
	}
	w.add(Route, s.view(Route, name, c.view, print.String(), func() (proto.Message, []model.Ref) {
		return s.buildRouteTable(name, c, port)
	}))
	return name
}

func (s *Set) buildRouteTable(name string, c caller, port uint32) (proto.Message, []model.Ref) {
	rc := &routev3.RouteConfiguration{Name: name, IgnorePortInHostMatching: true, ValidateClusters: wrapperspb.Bool(false)}
	var sources []model.Ref
	taken := map[string]bool{}
	for _, svc := range s.Snapshot.Services {
		p, ok := svc.Port(port)
		if !ok || !p.HTTP() {
			continue
		}
		sources = append(sources, svc.Ref)
		vh := &routev3.VirtualHost{Name: svc.Host, Domains: unclaimed(taken, domains(svc, c.namespace))}
		if len(vh.Domains) == 0 {
			continue
		}
		for _, r := range s.rules(c, svc.Host) {
			vh.Routes = append(vh.Routes, s.route(r, p, anyPath()))
			if r.Ref.Kind != "" {
				sources = append(sources, r.Ref)
			}
		}
		rc.VirtualHosts = append(rc.VirtualHosts, vh)
	}
	rc.VirtualHosts = append(rc.VirtualHosts, s.direct(taken, port)...)
	return rc, sources
}

// direct leads requests for a headless service's workload by its own address to that
// workload. Rules are for the service: they choose among its workloads, and here the
// caller has chosen. Names that are taken stay with who has them.
func (s *Set) direct(taken map[string]bool, port uint32) []*routev3.VirtualHost {
	var out []*routev3.VirtualHost
	for _, svc := range s.Snapshot.Services {
		p, ok := svc.Port(port)
		if !ok || !p.HTTP() || !svc.Headless {
			continue
		}
		for _, a := range unclaimed(taken, ownAddresses(svc)) {
			r := s.route(&model.Route{Host: svc.Host, Targets: []model.Target{{Host: svc.Host, Weight: 100}}}, p, anyPath())
			r.GetRoute().MetadataMatch = onlyAt(a)
			out = append(out, &routev3.VirtualHost{Name: svc.Host + "|" + a, Domains: []string{a}, Routes: []*routev3.Route{r}})
		}
	}
	return out
}

// domains are the names by which a caller of a namespace may know a service: every
// shortening of the full name that its resolver would complete, and its address.
func domains(svc *model.Service, namespace string) []string {
	base := svc.Ref.Name + "." + svc.Ref.Namespace
	out := []string{svc.Host, base + ".svc", base}
	if svc.Ref.Namespace == namespace {
		out = append(out, svc.Ref.Name)
	}
	if svc.Address != "" {
		out = append(out, svc.Address)
	}
	return append(out, svc.ExternalHosts...)
}

// unclaimed returns the names that no service before has, and takes them. Envoy refuses
// a whole table in which a name is there twice; ingest refuses such services, but two
// registries may not know of each other.
func unclaimed(taken map[string]bool, names []string) []string {
	var out []string
	for _, n := range names {
		if !taken[n] {
			taken[n] = true
			out = append(out, n)
		}
	}
	return out
}

// route is one rule as Envoy sees it. base is the path that all of it is limited to.
func (s *Set) route(r *model.Route, p model.Port, base *routev3.RouteMatch) *routev3.Route {
	out := &routev3.Route{
		Name:  r.Ref.Name,
		Match: matchOf(r.Headers, base),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			Timeout:     durationpb.New(s.timeout(r, p)),
			RetryPolicy: safeRetries(),
		}},
	}
	destination(out.GetRoute(), r.Targets, p)
	if f := faultOf(r.Fault); f != nil {
		out.TypedPerFilterConfig = map[string]*anypb.Any{faultFilter: pack(f)}
	}
	return out
}

// timeout is the rule's, else the mesh's; gRPC streams have none unless asked for.
func (s *Set) timeout(r *model.Route, p model.Port) time.Duration {
	switch {
	case r.Timeout > 0:
		return r.Timeout
	case p.Protocol == configv1.Protocol_GRPC:
		return 0
	}
	return s.mesh.RequestTimeout
}

func destination(a *routev3.RouteAction, targets []model.Target, p model.Port) {
	if len(targets) == 1 {
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: clusterName(p.Number, targets[0].Labels, targets[0].Host)}
		return
	}
	wc := &routev3.WeightedCluster{}
	for _, t := range targets {
		wc.Clusters = append(wc.Clusters, &routev3.WeightedCluster_ClusterWeight{
			Name: clusterName(p.Number, t.Labels, t.Host), Weight: wrapperspb.UInt32(t.Weight),
		})
	}
	a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: wc}
}

// safeRetries tries another endpoint when a request certainly did not reach one, which
// is right for every method.
func safeRetries() *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		RetryOn:    "connect-failure,refused-stream,reset-before-request",
		NumRetries: wrapperspb.UInt32(2),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: pack(&previousv3.PreviousHostsPredicate{})},
		}},
		HostSelectionRetryMaxAttempts: 3,
	}
}

// pseudo is the HTTP/2 name of a pseudo header of a rule.
var pseudo = map[string]string{"scheme": ":scheme", "method": ":method", "authority": ":authority"}

func anyPath() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}
