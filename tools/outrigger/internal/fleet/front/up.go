package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// endPatience is how long a fleet may take to end before it is ended by force, a little
// more than the supervisor gives itself.
const endPatience = 8700 * time.Millisecond

// Up runs a fleet until ctx ends, then stops it and returns nil; a second end, of
// force, stops it at once. An error says why the fleet did not come up, or broke;
// then nothing is left of it either.
func Up(ctx, force context.Context, c Config, out io.Writer) error {
	r, err := resolve(c)
	if err != nil {
		return err
	}
	if err := preflight(ctx, c, r); err != nil {
		return err
	}
	lock, err := lock(ctx, r.plan.State)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := sweep(r.plan.State); err != nil {
		return err
	}
	ports, err := openPorts(r.plan)
	if err != nil {
		return err
	}
	defer ports.close()
	welcome, err := fleet.Greeting(r.file.Welcome, r.plan, ports.addresses())
	if err != nil {
		return &Refusal{Problem: "the fleet file " + c.File + " cannot be used", Cause: err, Advice: "correct its welcome"}
	}
	session := &session{config: c, plan: r.plan, ports: ports, show: newProgress(out, c.Quiet, welcome), began: time.Now(), warnings: make(chan string, maxWarnings)}
	err = session.run(ctx, force, lock)
	return errors.Join(err, sweep(r.plan.State))
}

// maxWarnings wait to be shown: one for each of usual ports.
const maxWarnings = 16

// session is one life of a fleet.
type session struct {
	config Config
	plan   fleet.Plan
	ports  *ports
	show   *progress
	began  time.Time
	inner  *inner
	latest fleet.Snapshot
	// warnings are what the ports say; those beyond its capacity are dropped.
	warnings chan string
}

func (s *session) run(ctx, force context.Context, lock *os.File) (err error) {
	if s.inner, err = startInner(s.plan.State, lock); err != nil {
		return err
	}
	defer s.inner.close()
	orders := fleet.Orders{Plan: s.plan, PID: os.Getpid(), Published: s.ports.addresses(), Started: s.began}
	if err := s.inner.tell(orders); err != nil {
		s.inner.kill()
		return s.broke()
	}
	serving, stopServing := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.ports.serve(serving, s.trouble) }()
	err = s.watch(ctx)
	if err == nil || s.inner.alive() {
		err = errors.Join(err, s.end(force))
	}
	stopServing()
	return errors.Join(err, <-served)
}

// watch follows the fleet until ctx ends, which is no error, or the fleet cannot
// go on.
func (s *session) watch(ctx context.Context) error {
	beat := time.NewTicker(beatInterval)
	defer beat.Stop()
	late := time.After(s.config.Timeout)
	for {
		select {
		case report, ok := <-s.inner.reports:
			if !ok {
				s.inner.kill()
				return s.broke()
			}
			if err := s.take(report); err != nil {
				return err
			}
		case text := <-s.warnings:
			s.show.warn(text)
		case <-beat.C:
			s.show.beat(time.Now())
		case <-late:
			if s.latest.Stage != fleet.StageReady {
				return s.tooLate()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// trouble shows what is wrong with a port, from any goroutine.
func (s *session) trouble(err error) {
	select {
	case s.warnings <- err.Error():
	default:
	}
}

func (s *session) take(report fleet.Report) error {
	switch {
	case report.Fatal != "":
		return s.fatal(report.Fatal)
	case report.Snapshot != nil:
		s.latest = *report.Snapshot
		s.show.update(s.latest, time.Now())
		if s.latest.Stage == fleet.StageFailed {
			return errors.New(s.latest.Failure)
		}
	}
	return nil
}

// fatal names the usual cause where the kernel refused the supervisor something.
func (s *session) fatal(text string) error {
	for _, sign := range []string{"operation not permitted", "permission denied"} {
		if strings.Contains(text, sign) {
			return namespaceRefusal(errors.New(text))
		}
	}
	return errors.New(text)
}

// end stops the fleet: in order, and by force if that takes too long.
func (s *session) end(force context.Context) error {
	if s.latest.Stage != "" {
		s.show.stopping()
	}
	if err := s.inner.tell(fleet.Tell{Stop: true}); err != nil {
		s.inner.kill()
		return nil
	}
	patience := time.After(endPatience)
	for {
		select {
		case report, ok := <-s.inner.reports:
			if !ok || report.Stopped {
				s.inner.kill() // it has nothing left to do; whatever is left in the namespaces goes
				return nil
			}
			if report.Snapshot != nil {
				s.show.update(*report.Snapshot, time.Now())
			}
		case <-patience:
			s.inner.kill()
			return nil
		case <-force.Done():
			s.inner.kill()
			return nil
		}
	}
}

func (s *session) broke() error {
	return fmt.Errorf("the supervisor broke: %s", s.inner.lastWords())
}

// tooLate says what is missing.
func (s *session) tooLate() error {
	var text strings.Builder
	fmt.Fprintf(&text, "the fleet was not ready within %v", s.config.Timeout)
	for _, row := range s.latest.Processes {
		if row.Phase == fleet.Up || row.Phase == fleet.Held {
			continue
		}
		fmt.Fprintf(&text, "\n  %s: %s %s (log: %s)", row.Name, row.Phase, row.Detail, row.Log)
	}
	return errors.New(text.String())
}
