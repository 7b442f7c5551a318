package prometheus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// maxSeries bounds the label combinations of one metric: a label made of a path must
// not eat the memory.
const maxSeries = 10_000

// book holds every metric that some handler uses. Metrics outlive a change of their
// handler as long as their definition stays. It is itself the registry's one collector,
// and an unchecked one, because a registry never forgets the shape of a checked metric.
type book struct {
	registry *prometheus.Registry

	mu      sync.Mutex
	metrics map[string]*metric
}

func newBook() *book {
	b := &book{registry: prometheus.NewRegistry(), metrics: map[string]*metric{}}
	b.registry.MustRegister(b)
	return b
}

// Describe implements prometheus.Collector: what there will be is not known.
func (b *book) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (b *book) Collect(ch chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.metrics {
		m.collector.Collect(ch)
	}
}

// metric is one exported name.
type metric struct {
	definition
	collector prometheus.Collector
	observe   func(labels []string, v float64)
	owners    map[string]int // by handler's full name

	mu     sync.Mutex
	series map[string]bool
}

// open takes hold of the metrics of a handler. The same definition is the same metric;
// another definition replaces it if nobody but this handler's predecessor uses it.
func (b *book) open(owner string, byInstance map[string]definition) (*handler, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := &handler{book: b, owner: owner, metrics: map[string]*metric{}}
	for _, instance := range slices.Sorted(maps.Keys(byInstance)) {
		m, err := b.take(owner, byInstance[instance])
		if err != nil {
			b.release(h)
			return nil, err
		}
		h.metrics[instance] = m
	}
	return h, nil
}

func (b *book) take(owner string, d definition) (*metric, error) {
	old := b.metrics[d.name]
	if old != nil && reflect.DeepEqual(old.definition, d) {
		old.owners[owner]++
		return old, nil
	}
	if old != nil {
		for other := range old.owners {
			if other != owner {
				return nil, fmt.Errorf("metric %s is defined otherwise by handler %s", d.name, other)
			}
		}
	}
	m := newMetric(d)
	m.owners[owner]++
	b.metrics[d.name] = m
	return m, nil
}

func (b *book) release(h *handler) {
	for _, m := range h.metrics {
		if m.owners[h.owner]--; m.owners[h.owner] > 0 {
			continue
		}
		delete(m.owners, h.owner)
		if len(m.owners) == 0 && b.metrics[m.name] == m {
			delete(b.metrics, m.name)
		}
	}
	h.metrics = nil
}

func newMetric(d definition) *metric {
	m := &metric{definition: d, owners: map[string]int{}, series: map[string]bool{}}
	switch d.kind {
	case configv1.PrometheusParams_MetricInfo_GAUGE:
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.name, Help: d.help}, d.labels)
		m.collector, m.observe = v, func(l []string, x float64) { v.WithLabelValues(l...).Set(x) }
	case configv1.PrometheusParams_MetricInfo_DISTRIBUTION:
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: d.name, Help: d.help, Buckets: d.buckets}, d.labels)
		m.collector, m.observe = v, func(l []string, x float64) { v.WithLabelValues(l...).Observe(x) }
	default:
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.name, Help: d.help}, d.labels)
		m.collector, m.observe = v, func(l []string, x float64) { v.WithLabelValues(l...).Add(x) }
	}
	return m
}

func (m *metric) add(s template.Metric) error {
	v, err := number(s.Value)
	if err != nil {
		return err
	}
	if v < 0 && m.kind == configv1.PrometheusParams_MetricInfo_COUNTER {
		return fmt.Errorf("%v: a counter cannot go down", v)
	}
	labels, err := m.values(s.Dimensions)
	if err != nil {
		return err
	}
	if !m.room(strings.Join(labels, "\x00")) {
		return fmt.Errorf("there are more than %d combinations of labels", maxSeries)
	}
	m.observe(labels, v)
	return nil
}

func (m *metric) room(series string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.series[series] {
		return true
	}
	if len(m.series) >= maxSeries {
		return false
	}
	m.series[series] = true
	return true
}

// handler sends samples to the metrics of its instances.
type handler struct {
	book    *book
	owner   string
	metrics map[string]*metric
}

// Metric implements adapter.Metric. A sample that does not fit does not stop the others.
func (h *handler) Metric(_ context.Context, in []template.Metric) error {
	var errs []error
	for _, s := range in {
		m, ok := h.metrics[s.Name]
		if !ok {
			errs = append(errs, fmt.Errorf("there is no metric for instance %s", s.Name))
			continue
		}
		if err := m.add(s); err != nil {
			errs = append(errs, fmt.Errorf("metric %s: %w", m.name, err))
		}
	}
	return errors.Join(errs...)
}

// Immediate implements adapter.Immediate: a sample only touches memory.
func (h *handler) Immediate() bool { return true }

// Close implements adapter.Handler.
func (h *handler) Close() error {
	h.book.mu.Lock()
	defer h.book.mu.Unlock()
	h.book.release(h)
	return nil
}
