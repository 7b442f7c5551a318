package probe

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Order says what to send.
type Order struct {
	// Address is where to connect to, a name or an IP address with a port.
	Address string `json:"address"`
	// Host is the Host header; empty takes Address.
	Host string `json:"host"`
	// Rate is requests per second, over all connections together.
	Rate int `json:"rate"`
	// Connections is how many there are; each has at most one request under way.
	Connections int `json:"connections"`
	// Warmup is what is sent at first and not measured; Length is what is measured.
	Warmup time.Duration `json:"warmup"`
	Length time.Duration `json:"length"`
}

// Bounds of an order.
const (
	maxConnections = 1000
	maxRequests    = 1_000_000
)

func (o Order) check() error {
	if o.Address == "" || o.Rate < 1 || o.Connections < 1 || o.Connections > maxConnections || o.Warmup < 0 || o.Length <= 0 {
		return fmt.Errorf("order %+v: want an address, a rate, 1 to %d connections and a length", o, maxConnections)
	}
	if (o.Warmup+o.Length).Seconds()*float64(o.Rate) > maxRequests {
		return fmt.Errorf("order %+v: want at most %d requests", o, maxRequests)
	}
	return nil
}

// Report is what came of an order.
type Report struct {
	// Latencies of the answers, in the order in which the connections had them.
	Latencies []time.Duration `json:"latencies"`
	// Failed requests had no answer, or one other than 200; those of the warm-up
	// count. First is the first one's error.
	Failed int    `json:"failed"`
	First  string `json:"first,omitempty"`
	// Late requests were sent after they were due, because the one before was still
	// under way; their latency counts from when they were due.
	Late int `json:"late"`
}

// Clean is nil when every request was answered with 200.
func (r Report) Clean() error {
	if r.Failed > 0 {
		return fmt.Errorf("%d requests failed, the first with: %s", r.Failed, r.First)
	}
	if len(r.Latencies) == 0 {
		return errors.New("nothing was measured")
	}
	return nil
}

// OrdersPath is where the sender takes an Order by POST; it answers with a Report.
const OrdersPath = "/orders"

// maxOrder bounds the text of an order, in bytes.
const maxOrder = 4 << 10

func refuse(w http.ResponseWriter, status int, err error) {
	http.Error(w, err.Error(), status)
}
