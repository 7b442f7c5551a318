package cli

import (
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Times after which something is said to who waits.
const (
	firstWord = 2 * time.Second
	nextWord  = 10 * time.Second
)

// waiter tells a person what is being waited for, once it takes long: on a terminal in
// one line that is written anew, elsewhere a line now and then.
type waiter struct {
	out      io.Writer
	terminal bool
	began    time.Time
	stop     chan struct{}
	ended    chan struct{}
	once     sync.Once

	mu    sync.Mutex
	text  string
	drawn bool
}

// patience begins to wait. done must be called.
func patience(s streams, text string) *waiter {
	w := &waiter{
		out: s.err, terminal: isTerminal(s.err), began: time.Now(), text: text,
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	go w.run()
	return w
}

// say changes what is being waited for.
func (w *waiter) say(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = text
	if w.drawn && w.terminal {
		w.draw()
	}
}

// done ends it and leaves the terminal clean. It may be called again.
func (w *waiter) done() {
	w.once.Do(func() { close(w.stop) })
	<-w.ended
}

func (w *waiter) run() {
	defer close(w.ended)
	next := time.NewTimer(firstWord)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			w.mu.Lock()
			w.draw()
			w.mu.Unlock()
			next.Reset(nextWord)
			if w.terminal {
				next.Reset(firstWord / 2)
			}
		case <-w.stop:
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.drawn && w.terminal {
				fmt.Fprint(w.out, "\r\x1b[K")
			}
			return
		}
	}
}

func (w *waiter) draw() {
	w.drawn = true
	took := time.Since(w.began).Round(time.Second)
	if w.terminal {
		fmt.Fprintf(w.out, "\r\x1b[K%s (%v)", w.text, took)
		return
	}
	fmt.Fprintf(w.out, "%s (%v)\n", w.text, took)
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// width is how many columns a line may have: the terminal's, 80 if it does not say, and
// as many as it takes where programs read.
func width(out io.Writer) int {
	const usual = 80
	file, ok := out.(*os.File)
	if !ok || !isTerminal(out) {
		return math.MaxInt
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col < usual/2 {
		return usual
	}
	return int(size.Col)
}
