package rest

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A connection that is kept may outlive the certificate that it was opened with: then
// nothing is answered on it, and the client is told to make another. What is under way
// ends with the certificate.
func TestARequestIsGoodWhileItsCertificateIs(t *testing.T) {
	now := time.Now()
	state := func(ends ...time.Duration) *tls.ConnectionState {
		s := &tls.ConnectionState{}
		for _, end := range ends {
			s.PeerCertificates = append(s.PeerCertificates, &x509.Certificate{NotAfter: now.Add(end)})
		}
		return s
	}
	for name, c := range map[string]struct {
		tls      *tls.ConnectionState
		code     int
		deadline bool
	}{
		"by socket":                   {nil, 200, false},
		"without a certificate":       {state(), 200, false},
		"while it is valid":           {state(time.Minute), 200, true},
		"after its end":               {state(-time.Second), 401, false},
		"after its end, chain or not": {state(-time.Second, time.Hour), 401, false},
	} {
		answered, deadline := false, time.Time{}
		h := proven(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			answered = true
			deadline, _ = r.Context().Deadline()
		}))
		r, w := httptest.NewRequest(http.MethodGet, "/v1/status", nil), httptest.NewRecorder()
		r.TLS = c.tls
		h.ServeHTTP(w, r)
		if w.Code != c.code || answered != (c.code == 200) {
			t.Errorf("%s: status %d, answered %v; want %d", name, w.Code, answered, c.code)
		}
		if refused := w.Code == 401; refused && (w.Header().Get("Connection") != "close" || !strings.Contains(w.Body.String(), `"code":16`)) {
			t.Errorf("%s: %v %s; want the connection closed and code 16", name, w.Header(), w.Body)
		}
		if c.deadline != deadline.Equal(now.Add(time.Minute)) {
			t.Errorf("%s: deadline %v, want the certificate's end: %v", name, deadline, c.deadline)
		}
	}
}
