package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/figure"
	"github.com/outrigger-mesh/outrigger/e2e/mesh"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// changeLimit bounds one change.
const changeLimit = 30 * time.Second

// apply applies documents and waits until they are in force.
func apply(ctx context.Context, m *mesh.Mesh, text []byte) error {
	conn, err := m.GRPC("pilot")
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = change(ctx, conn, text)
	return err
}

// change applies documents, waits until every proxy that uses them has them in force,
// and returns how many proxies that are.
func change(ctx context.Context, conn *grpc.ClientConn, text []byte) (uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	client := pilotv1.NewConfigServiceClient(conn)
	applied, err := client.Apply(ctx, &pilotv1.ApplyRequest{
		Documents: []*pilotv1.Document{{Name: "bench", Content: text}},
	})
	if err != nil {
		return 0, fmt.Errorf("apply: %w", err)
	}
	stream, err := client.Wait(ctx, &pilotv1.WaitRequest{Revision: applied.GetRevision(), Timeout: durationpb.New(changeLimit)})
	if err != nil {
		return 0, fmt.Errorf("wait: %w", err)
	}
	for {
		answer, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return 0, errors.New("wait: it ended undecided")
		case err != nil:
			return 0, fmt.Errorf("wait: %w", err)
		case answer.GetOutcome() == pilotv1.WaitResponse_OUTCOME_UNSPECIFIED:
			continue
		case answer.GetOutcome() != pilotv1.WaitResponse_LIVE:
			return 0, fmt.Errorf("wait: %v: missing %v, refused %v", answer.GetOutcome(), answer.GetMissing(), answer.GetRefused())
		}
		return answer.GetLive(), nil
	}
}

// ruleName is the RouteRule that is changed.
const ruleName = "bench"

// rule concerns requests to productpage, which every proxy knows; number makes it
// another one than before.
func rule(number int) []byte {
	return fmt.Appendf(nil, `apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: %s, namespace: default}
spec:
  destination: {name: productpage}
  precedence: 9
  route: [{weight: 100}]
  httpReqTimeout: {simpleTimeout: {timeout: %dms}}
`, ruleName, 10_000+number)
}

// changes measures how long it takes until a change is in force on all proxies.
func (b *bench) changes(ctx context.Context, m *mesh.Mesh) ([]figure.Row, error) {
	conn, err := m.GRPC("pilot")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	proxies, err := change(ctx, conn, rule(0)) // the first one makes the rule, the others change it
	if err != nil {
		return nil, err
	}
	if proxies == 0 {
		return nil, errors.New("the change concerns no proxy: it measures nothing")
	}
	var p50, p99 []float64
	for run := range b.Runs {
		var took []float64
		for i := range b.Applies {
			began := time.Now()
			live, err := change(ctx, conn, rule(1+run*b.Applies+i))
			if err != nil {
				return nil, err
			}
			if live != proxies {
				return nil, fmt.Errorf("a change is in force on %d proxies, the one before on %d", live, proxies)
			}
			took = append(took, time.Since(began).Seconds()*1e3)
		}
		p50, p99 = append(p50, figure.Quantile(took, 50)), append(p99, figure.Quantile(took, 99))
		b.say("changes, run %d of %d: on %d proxies in %.0f ms, p99 %.0f ms", run+1, b.Runs, proxies, p50[run], p99[run])
	}
	_, err = pilotv1.NewConfigServiceClient(conn).Delete(ctx, &pilotv1.DeleteRequest{
		Refs: []*configv1.ObjectRef{{Kind: "RouteRule", Namespace: "default", Name: ruleName}},
	})
	if err != nil {
		return nil, fmt.Errorf("delete: %w", err)
	}
	what := fmt.Sprintf("apply → on all %d proxies", proxies)
	return []figure.Row{
		{Goal: what + ", p50", Unit: figure.Milliseconds, Measured: p50},
		{Goal: what + ", p99", Unit: figure.Milliseconds, Measured: p99, Target: figure.Target{Most: 500}},
	}, nil
}
