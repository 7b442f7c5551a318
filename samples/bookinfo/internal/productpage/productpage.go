// Package productpage is the service that people meet: it asks details and reviews about a book and shows what they
// say, as a page and as JSON.
package productpage

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/answer"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/call"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/forward"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/page"
)

// How long one attempt may take, and how many there are. The patience with reviews is part of the fault injection
// guide: six seconds are too few for a reviews that waits seven for its ratings.
const (
	timeout         = 3 * time.Second
	reviewsAttempts = 2
)

type fetcher interface {
	JSON(ctx context.Context, q call.Request, doc any) (attempts int, err error)
}

// Config says who answers, and where the other services are: base URLs without a slash at their end.
type Config struct {
	Origin  book.Origin
	Details string
	Reviews string
	Ratings string
}

type service struct {
	cfg   Config
	fetch fetcher
	page  *page.Page
	log   *slog.Logger
}

// New returns the service.
func New(cfg Config, fetch fetcher, log *slog.Logger) http.Handler {
	s := &service{cfg: cfg, fetch: fetch, page: page.New(), log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { redirect(w, r, http.StatusFound) })
	mux.HandleFunc("GET /productpage", s.showPage)
	mux.HandleFunc("POST /login", login)
	mux.HandleFunc("GET /logout", logout)
	mux.HandleFunc("POST /logout", logout)
	mux.HandleFunc("GET /api/v1/products", func(w http.ResponseWriter, _ *http.Request) {
		answer.JSON(w, http.StatusOK, book.Products())
	})
	mux.HandleFunc("GET /api/v1/products/{id}", relay(s, s.details, book.DetailsUnavailable))
	mux.HandleFunc("GET /api/v1/products/{id}/reviews", relay(s, s.reviews, book.ReviewsUnavailable))
	mux.HandleFunc("GET /api/v1/products/{id}/ratings", relay(s, s.ratings, book.RatingsUnavailable))
	// A page of another site must not sign a visitor in or out.
	return http.NewCrossOriginProtection().Handler(mux)
}

// outcome is what came of asking one service.
type outcome[T any] struct {
	doc      T
	err      error
	attempts int
	took     time.Duration
}

func ask[T any](s *service, r *http.Request, url string, attempts int) outcome[T] {
	start := time.Now()
	var out outcome[T]
	out.attempts, out.err = s.fetch.JSON(r.Context(), call.Request{
		URL:      url,
		Header:   forward.Header(r.Header),
		Timeout:  timeout,
		Attempts: attempts,
	}, &out.doc)
	out.took = time.Since(start)
	if out.err != nil {
		s.log.Debug("service unavailable", "error", out.err, "attempts", out.attempts)
	}
	return out
}

func (s *service) details(r *http.Request, id int) outcome[book.Details] {
	return ask[book.Details](s, r, s.cfg.Details+"/details/"+strconv.Itoa(id), 1)
}

func (s *service) reviews(r *http.Request, id int) outcome[book.Reviews] {
	return ask[book.Reviews](s, r, s.cfg.Reviews+"/reviews/"+strconv.Itoa(id), reviewsAttempts)
}

func (s *service) ratings(r *http.Request, id int) outcome[book.Ratings] {
	return ask[book.Ratings](s, r, s.cfg.Ratings+"/ratings/"+strconv.Itoa(id), 1)
}

// relay answers with what asking says about the book in the path, or with sorry and the status of the failure.
func relay[T any](s *service, asking func(*http.Request, int) outcome[T], sorry string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := book.ParseID(r.PathValue("id"))
		if err != nil {
			answer.Error(w, http.StatusBadRequest, err.Error())
			return
		}
		if _, ok := book.FindProduct(id); !ok {
			answer.Error(w, http.StatusNotFound, "no product "+strconv.Itoa(id))
			return
		}
		out := asking(r, id)
		if out.err != nil {
			answer.Error(w, call.Status(out.err), sorry)
			return
		}
		answer.JSON(w, http.StatusOK, out.doc)
	}
}
