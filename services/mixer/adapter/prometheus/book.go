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
	"sync/atomic"

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

	mu sync.Mutex
	// metrics are the definitions of a name that handlers hold, the one shown last. There
	// are several while handlers that share the name are changed together: all the new ones
	// are made before the first old one is closed.
	metrics map[string][]*metric
}

func newBook() *book {
	b := &book{registry: prometheus.NewRegistry(), metrics: map[string][]*metric{}}
	b.registry.MustRegister(b)
	return b
}

// Describe implements prometheus.Collector: what there will be is not known.
func (b *book) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (b *book) Collect(ch chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, definitions := range b.metrics {
		definitions[len(definitions)-1].collector.Collect(ch)
	}
}

// metric is one exported name.
type metric struct {
	definition
	collector prometheus.Collector
	observe   func(labels []string, v float64)
	owners    map[string]int // by handler's full name
	// shownBy is who defines what is shown under the name, nil if that is this metric.
	shownBy atomic.Pointer[string]

	mu     sync.Mutex
	series map[string]bool
}

// open takes hold of the metrics of a handler. The same definition is the same metric;
// another definition is shown in place of the earlier ones until its handler is closed.
func (b *book) open(owner string, byInstance map[string]definition) *handler {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := &handler{book: b, owner: owner, metrics: map[string]*metric{}}
	for _, instance := range slices.Sorted(maps.Keys(byInstance)) {
		h.metrics[instance] = b.take(owner, byInstance[instance])
	}
	return h
}

func (b *book) take(owner string, d definition) *metric {
	there := b.metrics[d.name]
	m := newMetric(d)
	if i := slices.IndexFunc(there, func(m *metric) bool { return reflect.DeepEqual(m.definition, d) }); i >= 0 {
		m = there[i]
		there = slices.Delete(there, i, i+1)
	}
	m.owners[owner]++
	b.show(d.name, append(there, m))
	return m
}

// show sets the definitions of a name, the last of which is shown.
func (b *book) show(name string, definitions []*metric) {
	if len(definitions) == 0 {
		delete(b.metrics, name)
		return
	}
	b.metrics[name] = definitions
	last := len(definitions) - 1
	by := slices.Min(slices.Collect(maps.Keys(definitions[last].owners)))
	for _, m := range definitions[:last] {
		m.shownBy.Store(&by)
	}
	definitions[last].shownBy.Store(nil)
}

func (b *book) release(h *handler) {
	for _, m := range h.metrics {
		if m.owners[h.owner]--; m.owners[h.owner] == 0 {
			delete(m.owners, h.owner)
		}
		b.show(m.name, slices.DeleteFunc(b.metrics[m.name], func(m *metric) bool { return len(m.owners) == 0 }))
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

// add takes a sample, unless it would go where nobody sees it.
func (m *metric) add(s template.Metric) error {
	if by := m.shownBy.Load(); by != nil {
		return fmt.Errorf("it is defined otherwise by handler %s", *by)
	}
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
