// Package answer writes JSON answers.
package answer

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
)

// JSON answers with status and the document v, which must be encodable.
func JSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("bookinfo: document cannot be encoded: " + err.Error())
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // A client that went away is no failure of ours.
}

// Error answers with status and {"error": text}.
func Error(w http.ResponseWriter, status int, text string) {
	JSON(w, status, map[string]string{"error": text})
}

// Found answers with the document that find has for the book named by the path's {id}: 400 if that is no number, 404 if
// find knows no such book.
func Found[T any](w http.ResponseWriter, r *http.Request, find func(id int) (T, bool)) {
	id, err := book.ParseID(r.PathValue("id"))
	if err != nil {
		Error(w, http.StatusBadRequest, err.Error())
		return
	}
	doc, ok := find(id)
	if !ok {
		Error(w, http.StatusNotFound, "no product "+strconv.Itoa(id))
		return
	}
	JSON(w, http.StatusOK, doc)
}
