package run

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestFirstErrorStopsTheRestInReverseOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	wait := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return nil
		}
	}
	boom := errors.New("boom")
	var g Group
	g.Add("bus", wait("bus"))
	g.Add("world", wait("world"))
	g.Add("server", func(context.Context) error { return boom })
	err := g.Run(context.Background())
	if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "server: ") {
		t.Errorf("got %v, want server: boom", err)
	}
	if want := []string{"world", "bus"}; !slices.Equal(order, want) {
		t.Errorf("stopped in order %v, want %v", order, want)
	}
}

func TestContextEndIsNoError(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var g Group
	g.Add("a", func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() })
	if err := g.Run(ctx); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestAPartThatLeavesByItselfIsAnError(t *testing.T) {
	var g Group
	g.Add("a", func(context.Context) error { return nil })
	if err := g.Run(context.Background()); err == nil {
		t.Error("got nil, want an error")
	}
}
