package measure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/probe"
	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// ask gives an order to the sender on a host. That a request failed is an error.
func ask(ctx context.Context, m *mesh.Mesh, host string, order probe.Order) (probe.Report, error) {
	var report probe.Report
	door, err := m.Door(host)
	if err != nil {
		return report, err
	}
	text, err := json.Marshal(order)
	if err != nil {
		return report, fmt.Errorf("order: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+control.String()+probe.OrdersPath, bytes.NewReader(text))
	if err != nil {
		return report, fmt.Errorf("order: %w", err)
	}
	answer, err := mesh.Do(door.Client(order.Warmup+order.Length+time.Minute), request)
	if err != nil {
		return report, fmt.Errorf("order to %s: %w", host, err)
	}
	if answer.Status != http.StatusOK {
		return report, fmt.Errorf("order to %s: status %d: %s", host, answer.Status, answer.Body)
	}
	if err := json.Unmarshal([]byte(answer.Body), &report); err != nil {
		return report, fmt.Errorf("report of %s: %w", host, err)
	}
	if err := report.Clean(); err != nil {
		return report, fmt.Errorf("requests of %s to %s: %w", host, order.Host, err)
	}
	return report, nil
}
