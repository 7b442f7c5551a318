package telemetry

import (
	"fmt"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

func TestSets(t *testing.T) {
	t.Parallel()
	s := NewSets(func(n int) []attribute.KeyValue { return []attribute.KeyValue{attribute.Int("n", n)} })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, n := range []int{1, 2, maxSets + 1, 1} {
				got := metric.NewAddConfig([]metric.AddOption{s.Of(n)}).Attributes()
				if want := attribute.NewSet(attribute.Int("n", n)); !got.Equals(&want) {
					t.Errorf("of %d: %v", n, got.ToSlice())
				}
			}
		})
	}
	wg.Wait()
}

func TestSetsKeepNoMoreThanTheyMay(t *testing.T) {
	t.Parallel()
	made := 0
	s := NewSets(func(n string) []attribute.KeyValue {
		made++
		return []attribute.KeyValue{attribute.String("n", n)}
	})
	for i := range 3 * maxSets {
		s.Of(fmt.Sprint(i))
		s.Of(fmt.Sprint(i))
	}
	if made != 3*maxSets {
		t.Errorf("%d sets were made, want %d, each once", made, 3*maxSets)
	}
	if len(s.kept) > maxSets {
		t.Errorf("%d sets are kept, want at most %d", len(s.kept), maxSets)
	}
}
