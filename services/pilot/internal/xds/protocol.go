package xds

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/stream"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// StreamAggregatedResources serves the state-of-the-world protocol.
func (s *Server) StreamAggregatedResources(ss discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.serve(ss.Context(), &sotwWire{ss: ss})
}

// DeltaAggregatedResources serves the delta protocol.
func (s *Server) DeltaAggregatedResources(ss discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.serve(ss.Context(), &deltaWire{ss: ss})
}

type deltaWire struct {
	ss    discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	asked [translate.Types]bool
}

func (*deltaWire) protocol() string { return "delta" }

func (w *deltaWire) recv() (message, error) {
	r, err := w.ss.Recv()
	if err != nil {
		return message{}, err
	}
	t, known := translate.TypeOf(r.GetTypeUrl())
	req := stream.Request{
		Type: t, Nonce: r.GetResponseNonce(), Refusal: refusal(r.GetErrorDetail().GetMessage(), r.GetErrorDetail() != nil),
		Versions: r.GetInitialResourceVersions(), Unsubscribe: r.GetResourceNamesUnsubscribe(),
	}
	for _, name := range r.GetResourceNamesSubscribe() {
		if name == "*" {
			req.Wildcard = true
			continue
		}
		req.Subscribe = append(req.Subscribe, name)
	}
	if known && !w.asked[t] {
		w.asked[t] = true
		whole := t == translate.Cluster || t == translate.Listener
		req.Wildcard = req.Wildcard || whole && len(req.Subscribe) == 0
	}
	return message{node: nodeOf(r.GetNode()), req: req, known: known}, nil
}

func (w *deltaWire) send(r stream.Response) error {
	out := &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: r.Type.URL(), Nonce: r.Nonce, SystemVersionInfo: versionOf(r.Revision), RemovedResources: r.Removed,
	}
	for _, res := range r.Upserts {
		out.Resources = append(out.Resources, &discoveryv3.Resource{Name: res.Name, Version: res.Version, Resource: res.Body})
	}
	return w.ss.Send(out)
}

type sotwWire struct {
	ss    discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer
	state stream.SotW
}

func (*sotwWire) protocol() string { return "sotw" }

func (w *sotwWire) recv() (message, error) {
	r, err := w.ss.Recv()
	if err != nil {
		return message{}, err
	}
	t, known := translate.TypeOf(r.GetTypeUrl())
	if !known {
		return message{node: nodeOf(r.GetNode())}, nil
	}
	req, err := w.state.Request(t, r.GetResponseNonce(), refusal(r.GetErrorDetail().GetMessage(), r.GetErrorDetail() != nil), r.GetResourceNames())
	return message{node: nodeOf(r.GetNode()), req: req, known: true, bad: err}, nil
}

// send gives clusters and listeners as a whole, since what is left out is gone, and of
// the other types what changed.
func (w *sotwWire) send(r stream.Response) error {
	out := &discoveryv3.DiscoveryResponse{
		TypeUrl: r.Type.URL(), Nonce: r.Nonce, VersionInfo: versionOf(r.Revision),
	}
	resources := r.Upserts
	if r.Type == translate.Cluster || r.Type == translate.Listener {
		resources = r.Full
	}
	out.Resources = make([]*anypb.Any, len(resources))
	for i, res := range resources {
		out.Resources[i] = res.Body
	}
	return w.ss.Send(out)
}

// versionOf is how a revision is shown to a proxy. An empty config has revision 0, but
// a version of 0 says "nothing was accepted yet" in Envoy's stats, so that it is 1 there.
func versionOf(revision uint64) string { return strconv.FormatUint(max(revision, 1), 10) }

// refusal is what a proxy said, cut to maxRefusal, or a word for it if it said nothing.
func refusal(message string, refused bool) string {
	if refused && message == "" {
		return "refused without a reason"
	}
	return cut(message, maxRefusal)
}

// node is who a proxy says it is.
type node struct {
	role                     translate.Role
	name, namespace, account string
	address, version         string
	labels                   map[string]string
	listenAddress            string
	listenPort               uint32
}

func nodeOf(n *corev3.Node) node {
	f := n.GetMetadata().GetFields()
	out := node{
		role: translate.Role(f["ROLE"].GetStringValue()), name: f["NAME"].GetStringValue(), namespace: f["NAMESPACE"].GetStringValue(),
		account: f["ACCOUNT"].GetStringValue(), address: addressIn(n.GetId()), labels: map[string]string{},
		listenAddress: f["LISTEN_ADDRESS"].GetStringValue(),
	}
	if port, err := strconv.ParseUint(f["LISTEN_PORT"].GetStringValue(), 10, 16); err == nil {
		out.listenPort = uint32(port)
	}
	for k, v := range f["LABELS"].GetStructValue().GetFields() {
		out.labels[k] = v.GetStringValue()
	}
	if v := n.GetUserAgentBuildVersion().GetVersion(); v != nil {
		out.version = strconv.Itoa(int(v.GetMajorNumber())) + "." + strconv.Itoa(int(v.GetMinorNumber())) + "." + strconv.Itoa(int(v.GetPatch()))
	}
	return out
}

// addressIn is the second part of a node id, "<role>~<address>~<name>~<domain>".
func addressIn(id string) string {
	if parts := strings.Split(id, "~"); len(parts) == 4 {
		return parts[1]
	}
	return ""
}
