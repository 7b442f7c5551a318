// Package xdswire speaks Envoy's discovery protocol by hand: the few protobuf messages
// that it needs, and gRPC's framing over net/http. In: bytes of a stream. Out: values.
// It exists because the generated types and grpc-go cost a small helper process more
// memory than everything else in it; it decides nothing about what is sent.
//
// Source: envoy/service/discovery/v3/discovery.proto of Envoy 1.40, and gRPC over
// HTTP/2, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
package xdswire

// Request is a DiscoveryRequest (state of the world) or a DeltaDiscoveryRequest.
type Request struct {
	NodeID  string
	TypeURL string
	// Names are, of the state of the world, all that are wanted; of a delta, those
	// wanted in addition.
	Names       []string
	Unsubscribe []string // delta only
	Version     string   // last accepted; state of the world only
	Nonce       string   // of the response that is answered; "" if none is
	// Refused is Envoy's reason for not taking that response; only with IsRefusal.
	Refused   string
	IsRefusal bool
}

// DecodeRequest reads either kind. Unknown fields are skipped.
func DecodeRequest(b []byte, delta bool) (Request, error) {
	var r Request
	err := fields(b, func(field int, v []byte) error {
		if delta {
			return r.deltaField(field, v)
		}
		return r.worldField(field, v)
	})
	return r, err
}

func (r *Request) worldField(field int, v []byte) error {
	switch field {
	case 1:
		r.Version = string(v)
	case 2:
		return r.node(v)
	case 3:
		r.Names = append(r.Names, string(v))
	case 4:
		r.TypeURL = string(v)
	case 5:
		r.Nonce = string(v)
	case 6:
		return r.refusal(v)
	}
	return nil
}

func (r *Request) deltaField(field int, v []byte) error {
	switch field {
	case 1:
		return r.node(v)
	case 2:
		r.TypeURL = string(v)
	case 3:
		r.Names = append(r.Names, string(v))
	case 4:
		r.Unsubscribe = append(r.Unsubscribe, string(v))
	case 6:
		r.Nonce = string(v)
	case 7:
		return r.refusal(v)
	}
	return nil
}

// node reads envoy.config.core.v3.Node.
func (r *Request) node(b []byte) error {
	return fields(b, func(field int, v []byte) error {
		if field == 1 {
			r.NodeID = string(v)
		}
		return nil
	})
}

// refusal reads google.rpc.Status.
func (r *Request) refusal(b []byte) error {
	r.IsRefusal = true
	return fields(b, func(field int, v []byte) error {
		if field == 2 {
			r.Refused = string(v)
		}
		return nil
	})
}

// Resource is one resource of a response, its body encoded.
type Resource struct {
	Name    string
	Version string
	Body    []byte
}

// Response is a DiscoveryResponse or a DeltaDiscoveryResponse.
type Response struct {
	TypeURL   string
	Version   string // version_info, or system_version_info of a delta
	Nonce     string
	Resources []Resource
	Removed   []string // delta only
}

// Encode returns the message in either form.
func (r Response) Encode(delta bool) []byte {
	var b []byte
	b = AppendBytes(b, 1, r.Version)
	for _, res := range r.Resources {
		if !delta {
			b = AppendAny(b, 2, r.TypeURL, res.Body)
			continue
		}
		var m []byte
		m = AppendBytes(m, 1, res.Version)
		m = AppendAny(m, 2, r.TypeURL, res.Body)
		m = AppendBytes(m, 3, res.Name)
		b = AppendBytes(b, 2, m)
	}
	b = AppendBytes(b, 4, r.TypeURL)
	b = AppendBytes(b, 5, r.Nonce)
	if delta {
		for _, name := range r.Removed {
			b = AppendBytes(b, 6, name)
		}
	}
	return b
}
