package telemetry

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// maxSets bounds the sets that one Sets keeps; they are made anew when more are needed.
const maxSets = 4096

// Sets keeps attribute sets of metrics ready-made, by what tells one from another: to
// sort and hash a set costs more than to count with it. Its methods are safe for
// concurrent use.
type Sets[K comparable] struct {
	describe func(K) []attribute.KeyValue

	mu   sync.RWMutex
	kept map[K]metric.MeasurementOption
}

// NewSets returns Sets of what describe says; it is pure.
func NewSets[K comparable](describe func(K) []attribute.KeyValue) *Sets[K] {
	return &Sets[K]{describe: describe, kept: map[K]metric.MeasurementOption{}}
}

// Of returns the set of k.
func (s *Sets[K]) Of(k K) metric.MeasurementOption {
	s.mu.RLock()
	o, ok := s.kept[k]
	s.mu.RUnlock()
	if ok {
		return o
	}
	o = metric.WithAttributeSet(attribute.NewSet(s.describe(k)...))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) >= maxSets {
		clear(s.kept)
	}
	s.kept[k] = o
	return o
}
