// Package attrset keeps the attribute sets of metrics ready-made: to sort and hash a set
// costs more than to count with it. In: what tells one set from another. Out: the option
// that a measurement takes. It measures nothing.
package attrset

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// maxKept bounds the sets that are kept at once; they are made anew when more are needed.
const maxKept = 4096

// Sets are the sets of one or more metrics by K. Its methods are safe for concurrent use.
type Sets[K comparable] struct {
	describe func(K) []attribute.KeyValue

	mu   sync.RWMutex
	kept map[K]metric.MeasurementOption
}

// New returns Sets of what describe says; it is pure.
func New[K comparable](describe func(K) []attribute.KeyValue) *Sets[K] {
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
	if len(s.kept) >= maxKept {
		clear(s.kept)
	}
	s.kept[k] = o
	return o
}
