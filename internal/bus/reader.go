package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// reader is one Run: what it has delivered so far.
type reader struct {
	*Bucket
	deliver   func(Change)
	delivered bool // anything
	current   bool // the last thing delivered came from the bus
	relist    bool // what was seen may not continue what comes
	dirty     bool // the kept file is older than the view
	logged    string
}

// Run reads until ctx ends and calls deliver from one goroutine. It returns only then,
// and without an error: what is wrong with the bus is in State.
func (b *Bucket) Run(ctx context.Context, deliver func(Change)) error {
	r := &reader{Bucket: b, deliver: deliver, relist: true}
	r.load()
	patience := time.NewTimer(b.cfg.Patience)
	defer patience.Stop()
	tick := time.NewTicker(b.cfg.Reconcile)
	defer tick.Stop()
	for look := true; ; {
		err := r.sync(ctx, look)
		if ctx.Err() != nil {
			r.save()
			return nil
		}
		r.note(err)
		r.relist = r.relist || err != nil
		look = err != nil
		select {
		case <-ctx.Done():
			r.save()
			return nil
		case <-b.src.Hints():
		case <-b.wake:
		case <-patience.C:
			r.stale()
		case <-tick.C:
			look = true
			r.tidy()
		}
	}
}

// refusal is why a bus is not read.
type refusal string

func (r refusal) Error() string { return string(r) }

// sync brings reader and bus together once. Without look it only asks what is new.
func (r *reader) sync(ctx context.Context, look bool) error {
	if !look && !r.relist {
		if err := r.follow(ctx); err == nil {
			return nil
		}
		r.relist = true
	}
	info, err := r.src.Look(ctx)
	if fault.Of(err) == fault.NotFound {
		info, err = r.create(ctx)
	}
	if err != nil {
		return err
	}
	if why := r.view.judge(info); why != "" {
		return refusal(why)
	}
	r.mu.Lock()
	r.ours = true
	r.state.Refused = ""
	r.mu.Unlock()
	if r.relist || info.Instance != r.view.instance {
		return r.list(ctx, info)
	}
	if info.Last > r.view.revision {
		return r.follow(ctx)
	}
	return nil
}

var errNoBucket = errors.New("pilot to make the bucket")

// create makes the bucket if this process may and holds nothing that came from
// another.
func (r *reader) create(ctx context.Context) (Info, error) {
	if n := len(r.view.live); n > 0 {
		return Info{}, refusal(r.view.judge(Info{Identity: r.view.identity}))
	}
	if r.sink == nil {
		return Info{}, errNoBucket
	}
	err := r.sink.Create(ctx, Creation{Identity: rand.Text()})
	if err != nil && fault.Of(err) != fault.Conflict {
		return Info{}, err
	}
	if err == nil {
		r.log.Info("made a new bucket on the bus")
	}
	return r.src.Look(ctx)
}

// follow takes what came after the view's revision. It is one page, so it cannot be
// torn; who is further behind lists.
func (r *reader) follow(ctx context.Context) error {
	msgs, more, err := r.src.Page(ctx, r.view.revision)
	if err != nil {
		return err
	}
	if more {
		info, err := r.src.Look(ctx)
		if err != nil {
			return err
		}
		return r.list(ctx, info)
	}
	if len(msgs) == 0 {
		return nil
	}
	entries, _ := r.decode(msgs)
	r.mu.Lock()
	news := r.view.add(entries, time.Now())
	r.view.revision = msgs[len(msgs)-1].Seq
	rev := r.view.revision
	r.mu.Unlock()
	r.emit(Change{Revision: rev, Entries: news})
	return nil
}

// list reads everything and delivers what differs from the view.
func (r *reader) list(ctx context.Context, info Info) error {
	msgs, last, err := r.readAll(ctx, info)
	if err != nil {
		return err
	}
	fresh := newView()
	fresh.identity, fresh.instance, fresh.revision = info.Identity, info.Instance, last
	entries, foreign := r.decode(msgs)
	fresh.add(entries, time.Now())
	for _, k := range foreign { // an object overwritten by rubbish is not a deleted one
		if e, ok := r.view.live[k]; ok {
			fresh.live[k] = e
		}
	}
	c := Change{Revision: last}
	if r.current {
		c.Entries = fresh.changes(r.view)
	} else {
		c.Entries, c.Reset = sorted(fresh.live), true
	}
	r.mu.Lock()
	r.view = fresh
	r.mu.Unlock()
	r.relist = false
	r.emit(c)
	if c.Reset {
		r.save()
	}
	return nil
}

// decode returns entries, and the keys whose newest message is not one of ours.
func (r *reader) decode(msgs []Message) (entries []Entry, foreign []Key) {
	for _, m := range msgs {
		e, err := decode(m)
		if err == nil {
			entries = append(entries, e)
			continue
		}
		r.log.Error("message on the bus is not ours and is ignored", "seq", m.Seq, "error", err)
		if e.Key != (Key{}) {
			foreign = append(foreign, e.Key)
		}
	}
	return entries, foreign
}

// emit delivers c, unless it says nothing, and notes it.
func (r *reader) emit(c Change) {
	if c.Reset || len(c.Entries) > 0 {
		r.deliver(c)
		r.dirty = r.dirty || !c.Stale
	}
	r.delivered = true
	r.current = !c.Stale
	r.mu.Lock()
	r.state.Revision, r.state.Stale = c.Revision, c.Stale
	r.mu.Unlock()
}

// stale delivers what was kept, if there is nothing better by now.
func (r *reader) stale() {
	if r.delivered || r.view.identity == "" {
		return
	}
	r.log.Warn("starting from the last known good", "revision", r.view.revision, "objects", len(r.view.live))
	r.emit(Change{Revision: r.view.revision, Entries: sorted(r.view.live), Reset: true, Stale: true})
}

// tidy does what need not be done at each change.
func (r *reader) tidy() {
	r.mu.Lock()
	r.view.forget(time.Now().Add(-r.cfg.Tombstones))
	r.mu.Unlock()
	r.save()
}

// note makes the outcome of a sync visible, and logs it if it is not the same as last
// time.
func (r *reader) note(err error) {
	text, refused := "", false
	if err != nil {
		text = err.Error()
		refused = errors.As(err, new(refusal))
	}
	if refused {
		text += "; " + r.remedy()
	}
	r.mu.Lock()
	r.state.Connected = err == nil || refused
	r.state.Refused, r.state.Waiting = "", ""
	if refused {
		r.state.Refused = text
	} else {
		r.state.Waiting = text
	}
	r.ours = err == nil
	r.mu.Unlock()
	if text != r.logged {
		switch {
		case refused:
			r.log.Error("bus refused; keeping the last known good", "why", text)
		case err != nil:
			r.log.Warn("bus not read", "error", text)
		default:
			r.log.Info("bus read again", "revision", r.view.revision)
		}
	}
	r.logged = text
	if refused {
		r.stale()
	}
}

// remedy says what a person can do about a refused bus.
func (b *Bucket) remedy() string {
	text := "give the bus its data back, or write what is kept to an empty bus with 'outrigger bus restore'"
	if f := b.cfg.Keep.file(b.cfg.Name); f != "" {
		return text + ", or remove " + f + " and restart to take the bus as it is"
	}
	return text + ", or restart to take the bus as it is"
}
