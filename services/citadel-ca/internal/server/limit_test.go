package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
)

func TestLimiterForgetsAndIsBounded(t *testing.T) {
	l := newLimiter(1, 2)
	now := time.Now()
	for n := range 3 * maxCallers {
		if !l.allow(fmt.Sprint(n), now) {
			t.Fatalf("caller %d has no first call", n)
		}
		if len(l.callers) > maxCallers {
			t.Fatalf("%d callers are known, want at most %d", len(l.callers), maxCallers)
		}
	}
	l.allow("late", now)
	l.allow("late", now)
	now = now.Add(time.Second) // all others are full again
	// Enough to make room once. More would use up the room that the idle ones left, and
	// then anyone may be forgotten.
	for n := range maxCallers / 2 {
		l.allow(fmt.Sprint("new", n), now)
	}
	if len(l.callers) > maxCallers/2+1 {
		t.Errorf("%d callers are known: the idle ones were not forgotten", len(l.callers))
	}
	if !l.allow("late", now) || l.allow("late", now) {
		t.Error("a caller who had used up his calls was forgotten with the idle ones")
	}
}

func TestLimitKey(t *testing.T) {
	for address, want := range map[string]string{
		"10.77.1.9:4711": "10.77.1.9", "[2001:db8::1]:1": "2001:db8::/64", "[2001:db8::ffff:2]:1": "2001:db8::/64",
		"[::ffff:10.77.1.9]:1": "10.77.1.9", "[fe80::1%eth0]:1": "fe80::/64", "@": "@", "": "",
	} {
		if got := limitKey(rpc.Caller{Address: address}); got != want {
			t.Errorf("limitKey(%q) = %q, want %q", address, got, want)
		}
	}
	if got := limitKey(rpc.Caller{ID: id(t, "reviews"), Address: "10.0.0.1:1"}); got != id(t, "reviews").String() {
		t.Errorf("of an identity: %q", got)
	}
}
