package membus

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/bus/bustest"
)

type server struct{ *Bus }

func (s server) Connect(_ *testing.T, write bool) (bus.Source, bus.Sink) {
	st := s.Store("config")
	if !write {
		return st, nil
	}
	return st, st
}
func (s server) Stop(*testing.T)  { s.Bus.Stop() }
func (s server) Start(*testing.T) { s.Bus.Start() }
func (s server) Wipe(*testing.T)  { s.Bus.Wipe() }

func TestSuite(t *testing.T) {
	bustest.Run(t, func(*testing.T) bustest.Server { return server{New()} })
}
