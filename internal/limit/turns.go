package limit

import "sync"

// Turns lets so many of each key's goroutines compute at once, so that who has much to
// compute waits for itself and not everybody else for it. Its methods are safe for
// concurrent use. Make it with NewTurns.
type Turns[Key comparable] struct {
	each int

	mu  sync.Mutex
	all map[Key]*turns
}

// turns are those of one key.
type turns struct {
	places chan struct{} // capacity each: one for each that computes
	users  int           // that compute or wait; guarded by Turns.mu
}

// NewTurns returns Turns with so many at once for each key, at least one.
func NewTurns[Key comparable](each int) *Turns[Key] {
	return &Turns[Key]{each: max(1, each), all: map[Key]*turns{}}
}

// Take waits for a turn of key. Call done when it is over: others wait for that as for a
// mutex, so a turn is for what ends by itself.
func (t *Turns[Key]) Take(key Key) (done func()) {
	of := t.enter(key)
	of.places <- struct{}{}
	return func() { <-of.places; t.leave(key, of) }
}

func (t *Turns[Key]) enter(key Key) *turns {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.all[key]
	if of == nil {
		of = &turns{places: make(chan struct{}, t.each)}
		t.all[key] = of
	}
	of.users++
	return of
}

// leave forgets a key when nobody uses its turns.
func (t *Turns[Key]) leave(key Key, of *turns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of.users--; of.users == 0 {
		delete(t.all, key)
	}
}
