// Package reviews is the service that knows what readers thought: GET /reviews/{id}. Version v1 shows no stars, v2
// black ones, v3 red ones; v2 and v3 get them from ratings and do without when it does not answer.
package reviews

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/answer"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/call"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/forward"
)

type fetcher interface {
	JSON(ctx context.Context, q call.Request, doc any) (attempts int, err error)
}

// Config says which version answers, and where ratings is.
type Config struct {
	Origin  book.Origin
	Ratings string // base URL of ratings, without a slash at its end
}

// style is what sets a version apart. No color: ratings is not asked.
type style struct {
	color   string
	timeout time.Duration
}

func styleOf(version string) (style, error) {
	switch version {
	case "v1":
		return style{}, nil
	case "v2":
		return style{color: "black", timeout: 10 * time.Second}, nil
	case "v3":
		return style{color: "red", timeout: 2500 * time.Millisecond}, nil
	}
	return style{}, fmt.Errorf("reviews has no version %.40q: want v1, v2 or v3", version)
}

// CheckVersion returns an error if there is no such version.
func CheckVersion(version string) error {
	_, err := styleOf(version)
	return err
}

type service struct {
	cfg   Config
	style style
	fetch fetcher
	log   *slog.Logger
}

// New returns the service in the version that cfg names.
func New(cfg Config, fetch fetcher, log *slog.Logger) (http.Handler, error) {
	st, err := styleOf(cfg.Origin.Version)
	if err != nil {
		return nil, err
	}
	s := &service{cfg: cfg, style: st, fetch: fetch, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reviews/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer.Found(w, r, func(id int) (book.Reviews, bool) { return s.find(r, id) })
	})
	return mux, nil
}

func (s *service) find(r *http.Request, id int) (book.Reviews, bool) {
	doc, ok := book.FindReviews(id, s.cfg.Origin)
	if !ok || s.style.color == "" {
		return doc, ok
	}
	var ratings book.Ratings
	_, err := s.fetch.JSON(r.Context(), call.Request{
		URL:      s.cfg.Ratings + "/ratings/" + strconv.Itoa(id),
		Header:   forward.Header(r.Header),
		Timeout:  s.style.timeout,
		Attempts: 1,
	}, &ratings)
	if err != nil {
		s.log.Debug("ratings unavailable", "error", err)
		return withoutStars(doc), true
	}
	return withStars(doc, ratings, s.style.color), true
}

func withStars(doc book.Reviews, ratings book.Ratings, color string) book.Reviews {
	doc.RatingsFrom = &ratings.Origin
	for i := range doc.Reviews {
		stars, ok := ratings.Ratings[doc.Reviews[i].Reviewer]
		if !ok {
			continue
		}
		doc.Reviews[i].Rating = &book.Rating{Stars: min(max(stars, 1), 5), Color: color}
	}
	return doc
}

func withoutStars(doc book.Reviews) book.Reviews {
	for i := range doc.Reviews {
		doc.Reviews[i].Rating = &book.Rating{Error: book.NoRatings}
	}
	return doc
}
