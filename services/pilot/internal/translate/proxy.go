package translate

import (
	"time"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// Role is what a proxy is for.
type Role string

// The roles.
const (
	Sidecar Role = "sidecar"
	Ingress Role = "ingress"
	Egress  Role = "egress"
)

// Proxy is what the translation must know of one proxy.
type Proxy struct {
	Role Role
	// Workload is the instance the proxy stands beside; for a gateway only Ref and
	// Account are set.
	Workload *model.Workload
	// ListenAddress and ListenPort are where a gateway takes requests.
	ListenAddress string
	ListenPort    uint32
	// Traces is set if the proxy's bootstrap has the trace collector's cluster.
	Traces bool
}

// Mesh are the settings of the translation that all proxies share.
type Mesh struct {
	// RequestTimeout of HTTP requests that no rule gives one; 0 is none. It does not
	// hold for gRPC.
	RequestTimeout time.Duration
	// ConnectTimeout of upstream connections.
	ConnectTimeout time.Duration
	// TraceSample is the share of requests that begin a trace, in percent.
	TraceSample float64
	// Policy is set if there is a mixer to ask.
	Policy bool
}

// Ports on which a sidecar takes intercepted connections.
const (
	OutboundPort = 15001
	InboundPort  = 15006
)

// Names that proxies know from their bootstrap.
const (
	sdsCluster   = "sds-agent"
	mixerCluster = "mixer"
	otlpCluster  = "otlp"
	leafSecret   = "default"
	rootSecret   = "ROOTCA"
)

// Wants returns everything that p is to have.
func (s *Set) Wants(p Proxy) *Wants {
	var w Wants
	for t := range w {
		w[t] = map[string]*Resource{}
	}
	switch p.Role {
	case Ingress:
		s.ingress(p, &w)
	case Egress:
		s.egress(p, &w)
	case Sidecar:
		s.outbound(p, &w)
		s.inbound(p, &w)
	}
	return &w
}

func (w *Wants) add(t Type, r *Resource) { w[t][r.Name] = r }
