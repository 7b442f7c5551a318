package measure

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// certificates returns the serial number of the certificate that each sidecar uses, by
// host.
func certificates(ctx context.Context, m *mesh.Mesh, s mesh.Snapshot) (map[string]string, error) {
	serials := map[string]string{}
	for _, host := range s.Hosts {
		if !host.Sidecar {
			continue
		}
		text, err := m.Envoy(host.Name).Get(ctx, "/certs")
		if err != nil {
			return nil, fmt.Errorf("certificate of %s: %w", host.Name, err)
		}
		if serials[host.Name], err = serial(text); err != nil {
			return nil, fmt.Errorf("certificate of %s: %w", host.Name, err)
		}
	}
	return serials, nil
}

// serial reads the first leaf's from Envoy's page.
func serial(text string) (string, error) {
	var page struct {
		Certificates []struct {
			Leaf []struct {
				Serial string `json:"serial_number"`
			} `json:"cert_chain"`
		} `json:"certificates"`
	}
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		return "", err
	}
	for _, c := range page.Certificates {
		if len(c.Leaf) > 0 {
			return c.Leaf[0].Serial, nil
		}
	}
	return "", fmt.Errorf("Envoy shows none: %s", text)
}
