// Package details is the service that knows the facts of a book: GET /details/{id}.
package details

import (
	"net/http"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/answer"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
)

// New returns the service, which calls itself origin in its answers.
func New(origin book.Origin) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /details/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer.Found(w, r, func(id int) (book.Details, bool) { return book.FindDetails(id, origin) })
	})
	return mux
}
