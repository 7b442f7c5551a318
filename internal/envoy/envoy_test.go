package envoy_test

import (
	"testing"
	"time"
	"fmt"
)

func TestExperiment(t *testing.T) {
  for _, sotw := range []bool{false,true} { t.Run(fmt.Sprint(sotw), func(t *testing.T) {
	p := newProxy(t)
	p.config.StateOfTheWorld=sotw
	p.run(time.Second)
	p.wait("Envoy: clusters from pilot")
	w := p.world(7)
	p.pilot.Set(w)
	p.wait("")
	for _, rev := range []uint64{8, 9, 10} {
		w.Revision = rev
		if rev == 9  && !sotw{
			w.Listeners = nil
			w.Clusters = nil
		}
		if rev == 10 {
			w.Listeners = p.world(7).Listeners
			w.Listeners[0].Body = append(w.Listeners[0].Body, 0xff)
		}
		p.pilot.Set(w)
		time.Sleep(300 * time.Millisecond)
		s, err := p.admin.State(t.Context())
		t.Logf("%d %d %v %v", s.LDS, s.CDS, err, len(p.pilot.Refused()))
	}
	})}
}
