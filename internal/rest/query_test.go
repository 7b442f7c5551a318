package rest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	"github.com/outrigger-mesh/outrigger/proto/gen/openapi"
)

// TestQueriesOfPilot: patterns with variables and verbs are found in pilot's document.
func TestQueriesOfPilot(t *testing.T) {
	known, err := operationsOf([]byte(openapi.Pilot))
	if err != nil {
		t.Fatal(err)
	}
	mux := runtime.NewServeMux(runtime.WithMiddlewares(known.strict))
	for _, path := range []string{"/v1/objects", "/v1/objects/{kind}", "/v1/objects/{kind}/{namespace}", "/v1/objects:wait"} {
		err := mux.HandlePath(http.MethodGet, path, func(w http.ResponseWriter, _ *http.Request, _ map[string]string) {
			w.WriteHeader(http.StatusTeapot)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for url, want := range map[string]string{
		"/v1/objects":                          "",
		"/v1/objects?kind=Rule&namespace=a":    "",
		"/v1/objects?namspace=a":               `unknown query parameter \"namspace\"; there are kind, namespace`,
		"/v1/objects/Rule?namespace=a":         "",
		"/v1/objects/Rule?kind=b":              `unknown query parameter \"kind\"; there are namespace`,
		"/v1/objects/Rule/a?kind=b":            `unknown query parameter \"kind\": none are taken here`,
		"/v1/objects:wait?revision=7":          "",
		"/v1/objects:wait?revision=7&kind=a":   `unknown query parameter \"kind\"; there are revision, timeout`,
		"/v1/objects:wait?refs.kind=RouteRule": `unknown query parameter \"refs.kind\"`,
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, url, nil))
		switch {
		case want == "" && w.Code != http.StatusTeapot:
			t.Errorf("%s: got %d %s, want it taken", url, w.Code, w.Body)
		case want != "" && (w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want)):
			t.Errorf("%s: got %d %s, want 400 with %s", url, w.Code, w.Body, want)
		}
	}
	for path, want := range map[string]string{
		"/v1/objects:apply": "POST", "/v1/objects:wait": "GET POST", "/v1/objects": "GET", "/v1/objects/Rule/a/b": "DELETE GET",
		"/v1/objects/Rule//b": "", "/v1/nothing": "",
	} {
		if got := strings.Join(known.methods(path), " "); got != want {
			t.Errorf("methods of %s: got %q, want %q", path, got, want)
		}
	}
	if _, err := operationsOf([]byte("no document")); err == nil {
		t.Error("a broken document was taken")
	}
}
