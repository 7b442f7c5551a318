package envoy

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/outrigger-mesh/outrigger/internal/envoy/internal/xdswire"
	"github.com/outrigger-mesh/outrigger/internal/identity"
)

// Names of the secrets that the SDS server has.
const (
	SecretCertificate = "default" // the workload's certificate chain and key
	SecretRoots       = "ROOTCA"  // the trust bundle, a validation context
)

const secretType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

// secret returns the named secret, false if there is none of that name. Its version is
// a digest of what is public in it, so that it is the same after a restart.
func secret(name string, c *identity.Certificate) (xdswire.Resource, bool) {
	body := xdswire.AppendBytes(nil, 1, name)
	var public []byte
	switch name {
	case SecretCertificate:
		public = c.ChainPEM
		var pair []byte
		pair = xdswire.AppendBytes(pair, 1, inline(c.ChainPEM))
		pair = xdswire.AppendBytes(pair, 2, inline(c.KeyPEM))
		body = xdswire.AppendBytes(body, 2, pair)
	case SecretRoots:
		public = c.BundlePEM
		body = xdswire.AppendBytes(body, 4, xdswire.AppendBytes(nil, 1, inline(c.BundlePEM)))
	default:
		return xdswire.Resource{}, false
	}
	sum := sha256.Sum256(public)
	return xdswire.Resource{Name: name, Version: hex.EncodeToString(sum[:8]), Body: body}, true
}

// inline is a DataSource with inline_bytes.
func inline(b []byte) []byte { return xdswire.AppendBytes(nil, 2, b) }
