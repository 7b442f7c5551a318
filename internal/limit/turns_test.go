package limit

import (
	"testing"
	"testing/synctest"
)

func TestTurnsOfOneKeyAreLimitedAndThoseOfOthersAreTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := NewTurns[string](2)
		first := turns.Take("a")
		second := turns.Take("a")
		other := turns.Take("b")
		got := make(chan func(), 1)
		go func() { got <- turns.Take("a") }()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("a third turn of two")
		default:
		}
		first()
		third := <-got
		for _, done := range []func(){second, other, third} {
			done()
		}
		if len(turns.all) != 0 {
			t.Errorf("%d keys are remembered without turns", len(turns.all))
		}
	})
}
