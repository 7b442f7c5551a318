// Package ratings is the service that knows how many stars each reviewer gave: GET /ratings/{id}.
package ratings

import (
	"net/http"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/answer"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
)

// New returns the service, which calls itself origin in its answers.
func New(origin book.Origin) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ratings/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer.Found(w, r, func(id int) (book.Ratings, bool) { return book.FindRatings(id, origin) })
	})
	return mux
}
