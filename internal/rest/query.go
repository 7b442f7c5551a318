package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
)

// queries knows the query parameters of each operation, by method and path pattern.
type queries map[string]map[string]bool

// queriesOf reads them from an OpenAPI 2 document.
func queriesOf(document []byte) (queries, error) {
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	out := queries{}
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			names := map[string]bool{}
			for _, p := range operation.Parameters {
				if p.In == "query" {
					names[p.Name] = true
				}
			}
			out[strings.ToUpper(method)+" "+path] = names
		}
	}
	return out, nil
}

// strict refuses parameters that the OpenAPI document does not name: the gateway leaves
// out what it does not know, and who misspells a condition would act without it.
func (q queries) strict(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, path map[string]string) {
		if err := q.check(r); err != nil {
			refuse(w, http.StatusBadRequest, codes.InvalidArgument, err.Error())
			return
		}
		next(w, r, path)
	}
}

func (q queries) check(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	pattern, ok := runtime.HTTPPattern(r.Context())
	if !ok {
		return errors.New("query: no parameters are taken here")
	}
	known := q[r.Method+" "+strings.ReplaceAll(pattern.String(), "=*}", "}")]
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch {
		case !known[name] && len(known) == 0:
			return fmt.Errorf("unknown query parameter %q: none are taken here", name)
		case !known[name]:
			return fmt.Errorf("unknown query parameter %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	return nil
}
