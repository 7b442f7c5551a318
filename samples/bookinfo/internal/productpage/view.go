package productpage

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/call"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/forward"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/page"
)

// shown is the book on the page.
const shown = 0

// showPage answers 200 whatever happens behind it: a missing part is said on the page.
func (s *service) showPage(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	var details outcome[book.Details]
	var reviews outcome[book.Reviews]
	var both sync.WaitGroup
	both.Go(func() { details = s.details(r, shown) })
	both.Go(func() { reviews = s.reviews(r, shown) })
	both.Wait()

	product, _ := book.FindProduct(shown)
	view := page.View{
		User:    forward.User(r.Header),
		Product: product,
		Hops:    hops(details, reviews),
	}
	if details.err == nil {
		view.Details = &details.doc
	}
	if reviews.err == nil {
		view.Reviews = &reviews.doc
	}
	view.Hops = append([]page.Hop{{
		Service: "productpage",
		Version: s.cfg.Origin.Version,
		Pod:     s.cfg.Origin.Pod,
		State:   page.Answered,
		Note:    millis(time.Since(start)),
	}}, view.Hops...)

	body := s.page.Render(view)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Content-Security-Policy", s.page.Policy())
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Cookie")
	_, _ = w.Write(body) // A browser that went away is no failure of ours.
}

// hops tells who answered behind the page, in the order of the calls.
func hops(details outcome[book.Details], reviews outcome[book.Reviews]) []page.Hop {
	return []page.Hop{
		hop("details", details.doc.Origin, details.err, details.attempts, details.took),
		hop("reviews", reviews.doc.Origin, reviews.err, reviews.attempts, reviews.took),
		ratingsHop(reviews),
	}
}

func hop(service string, by book.Origin, err error, attempts int, took time.Duration) page.Hop {
	h := page.Hop{Service: service, Version: by.Version, Pod: by.Pod, State: page.Answered, Note: millis(took)}
	if err != nil {
		h = page.Hop{Service: service, State: page.Failed, Note: call.Reason(err) + ", " + millis(took)}
	}
	if attempts > 1 {
		h.Note += fmt.Sprintf(", %d attempts", attempts)
	}
	return h
}

// ratingsHop tells from the answer of reviews what ratings did; productpage itself never asks it for the page.
func ratingsHop(reviews outcome[book.Reviews]) page.Hop {
	h := page.Hop{Service: "ratings", State: page.NotAsked, Note: "not asked"}
	switch from := reviews.doc.RatingsFrom; {
	case reviews.err != nil:
		h.State, h.Note = page.NotAsked, "not known"
	case from != nil:
		h.State, h.Version, h.Pod, h.Note = page.Answered, from.Version, from.Pod, "asked by reviews"
	case noRatings(reviews.doc):
		h.State, h.Note = page.Failed, "asked by reviews in vain"
	}
	return h
}

func noRatings(doc book.Reviews) bool {
	for _, r := range doc.Reviews {
		if r.Rating != nil && r.Rating.Error != "" {
			return true
		}
	}
	return false
}

// millis prints a duration as people read it on the page.
func millis(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}
