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

// operations is what is known of each operation, by method and path pattern.
type operations map[string]operation

// operation is what one operation takes beside what is in its path.
type operation struct {
	query map[string]bool
	body  bool
}

// operationsOf reads them from an OpenAPI 2 document.
func operationsOf(document []byte) (operations, error) {
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	out := operations{}
	for path, methods := range doc.Paths {
		for method, of := range methods {
			op := operation{query: map[string]bool{}}
			for _, p := range of.Parameters {
				switch p.In {
				case "query":
					op.query[p.Name] = true
				case "body":
					op.body = true
				}
			}
			out[strings.ToUpper(method)+" "+path] = op
		}
	}
	return out, nil
}

// strict refuses what the OpenAPI document does not name: the gateway leaves out what it
// does not know, and who misspells a condition, or writes it where it is not looked for,
// would act without it.
func (o operations) strict(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, path map[string]string) {
		pattern, known := runtime.HTTPPattern(r.Context())
		op := operation{}
		if known {
			op = o[r.Method+" "+strings.ReplaceAll(pattern.String(), "=*}", "}")]
		}
		if err := errors.Join(op.checkQuery(r), op.checkBody(r)); err != nil {
			refuse(w, http.StatusBadRequest, codes.InvalidArgument, err.Error())
			return
		}
		next(w, r, path)
	}
}

func (op operation) checkQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch {
		case !op.query[name] && len(op.query) == 0:
			return fmt.Errorf("unknown query parameter %q: none are taken here", name)
		case !op.query[name]:
			return fmt.Errorf("unknown query parameter %q; there are %s", name, op.parameters())
		}
	}
	return nil
}

// checkBody refuses a body where none is taken.
func (op operation) checkBody(r *http.Request) error {
	if op.body || r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength < 0 { // not known before it is read
		if n, err := r.Body.Read(make([]byte, 1)); n == 0 && err != nil {
			return nil
		}
	}
	if len(op.query) > 0 {
		return fmt.Errorf("%s takes no body here; what it depends on goes into the query: %s", r.Method, op.parameters())
	}
	return fmt.Errorf("%s takes no body here", r.Method)
}

func (op operation) parameters() string {
	return strings.Join(slices.Sorted(maps.Keys(op.query)), ", ")
}

// methods lists those that a path has.
func (o operations) methods(path string) []string {
	var out []string
	for key := range o {
		if method, pattern, _ := strings.Cut(key, " "); fits(pattern, path) {
			out = append(out, method)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// fits reports whether a path is one of a pattern, such as "/v1/objects/{kind}".
func fits(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	return slices.EqualFunc(want, got, func(w, g string) bool {
		return w == g || strings.HasPrefix(w, "{") && g != ""
	})
}
