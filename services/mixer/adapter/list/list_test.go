package list

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/adaptertest"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	adaptertest.Run(t, adaptertest.Case{
		Info: Info(), Good: `{"overrides": ["v1", "v2"]}`,
		Bad: map[string]string{
			"scheme":   `{"providerUrl": "file:///etc/passwd"}`,
			"no host":  `{"provider_url": "http://"}`,
			"refresh":  `{"refreshInterval": "0.5s"}`,
			"ttl":      `{"refreshInterval": "60s", "ttl": "59s"}`,
			"address":  `{"entryType": "IP_ADDRESSES", "overrides": ["10.0.0.300"]}`,
			"pattern":  `{"entryType": "REGEX", "overrides": ["("]}`,
			"fetched":  `{"providerUrl": "http://a", "entryType": "REGEX", "overrides": ["("]}`,
			"uses":     `{"cachingUseCount": -1}`,
			"caching":  `{"cachingInterval": "-1s"}`,
			"type":     `{"entryType": 9}`,
			"bad type": `{"providerUrl": "http://a", "entryType": 9}`,
		},
		Inputs: []any{template.ListEntry{Value: "v1"}, template.ListEntry{Value: "v9"}},
	})
}

func TestListed(t *testing.T) {
	t.Parallel()
	const (
		ok      = codes.OK
		missing = codes.NotFound
		black   = codes.PermissionDenied
		invalid = codes.InvalidArgument
	)
	for _, c := range []struct {
		params, value string
		code          codes.Code
		message       string
	}{
		{`{"overrides": ["v1"]}`, "v1", ok, ""},
		{`{"overrides": ["v1"]}`, "V1", missing, "V1 is not whitelisted"},
		{`{"overrides": ["v1"]}`, "", missing, " is not whitelisted"},
		{`{}`, "v1", missing, "v1 is not whitelisted"},
		{`{"overrides": ["v1"], "blacklist": true}`, "v1", black, "v1 is blacklisted"},
		{`{"overrides": ["v1"], "blacklist": true}`, "v2", ok, ""},
		{`{"overrides": ["AbC"], "entry_type": "CASE_INSENSITIVE_STRINGS"}`, "aBc", ok, ""},
		{`{"overrides": ["10.0.0.0/8", "::1"], "entryType": "IP_ADDRESSES"}`, "10.1.2.3", ok, ""},
		{`{"overrides": ["10.0.0.0/8", "::1"], "entryType": "IP_ADDRESSES"}`, "::ffff:10.1.2.3", ok, ""},
		{`{"overrides": ["10.0.0.0/8", "::1"], "entryType": "IP_ADDRESSES"}`, "::1", ok, ""},
		{`{"overrides": ["10.0.0.1/8"], "entryType": "IP_ADDRESSES"}`, "11.0.0.1", missing, "11.0.0.1 is not whitelisted"},
		{`{"overrides": ["10.0.0.0/8"], "entryType": "IP_ADDRESSES"}`, "here", invalid, "here is not an IP address"},
		{`{"overrides": ["v[0-9]+"], "entryType": "REGEX"}`, "v12", ok, ""},
		{`{"overrides": ["v[0-9]+|w"], "entryType": "REGEX"}`, "xw", missing, "xw is not whitelisted"},
	} {
		h := adaptertest.Build(t, Info(), c.params, adapter.Env{})
		v, err := adaptertest.Ask(t.Context(), h, template.ListEntry{Value: c.value})
		if err != nil || v.Code != c.code || v.Message != c.message || v.ValidDuration != 5*time.Minute || v.ValidUseCount != 10_000 {
			t.Errorf("%s, %q: got %+v, %v, want %v %q", c.params, c.value, v, err, c.code, c.message)
		}
	}
}

// source serves a list that the test changes.
type source struct {
	body   atomic.Pointer[string]
	status atomic.Int64
}

func (s *source) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(int(s.status.Load()))
	fmt.Fprint(w, *s.body.Load())
}

// RoundTrip lets a client ask the source without a network, so that time is virtual.
func (s *source) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func (s *source) set(status int, body string) {
	s.body.Store(&body)
	s.status.Store(int64(status))
}

func TestFetched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &source{}
		src.set(500, "no")
		p := adaptertest.Params(t, Info(), `{"providerUrl": "http://lists/versions", "refreshInterval": "10s", "ttl": "25s", "overrides": ["own"]}`)
		h, err := build(p)
		if err != nil {
			t.Fatal(err)
		}
		h.client.Transport, h.log = src, discard()
		ended := make(chan error, 1)
		ctx, cancel := contextOf(t)
		go func() { ended <- h.Run(ctx) }()

		expect := func(when, value, want string) {
			t.Helper()
			synctest.Wait()
			v, err := h.ListEntry(ctx, template.ListEntry{Value: value})
			got := v.Code.String()
			if err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s: %s: got %q, want %q", when, value, got, want)
			}
		}
		expect("before a fetch worked", "v1", "the list was not fetched yet")
		src.set(200, "v1\n  v2 \n\n")
		time.Sleep(10 * time.Second)
		expect("after the first fetch", "v2", "OK")
		expect("after the first fetch", "own", "OK")
		expect("after the first fetch", "v3", "NotFound")
		src.set(200, "v3")
		time.Sleep(10 * time.Second)
		expect("after a change", "v3", "OK")
		expect("after a change", "v1", "NotFound")
		src.set(404, "gone")
		time.Sleep(20 * time.Second)
		expect("within ttl", "v3", "OK")
		time.Sleep(10 * time.Second)
		expect("after ttl", "v3", "the list could not be refreshed for 25s")
		src.set(200, "v3")
		time.Sleep(10 * time.Second)
		expect("when it is back unchanged", "v3", "OK")
		src.set(200, strings.Repeat("x", maxBody+1))
		time.Sleep(10 * time.Second)
		expect("too large a list", "v3", "OK")
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestYAMLOfAddresses(t *testing.T) {
	t.Parallel()
	got, err := lines(2, []byte("whitelist:\n- 10.0.0.1\n- 10.1.0.0/16\n"))
	if fmt.Sprint(got, err) != "[10.0.0.1 10.1.0.0/16] <nil>" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := lines(2, []byte("whitelist: [")); err == nil {
		t.Error("broken YAML is taken")
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	asked := false
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer inner.Close()
	outer := httptest.NewServer(http.RedirectHandler("ftp"+strings.TrimPrefix(inner.URL, "http"), http.StatusFound))
	defer outer.Close()
	h, err := build(adaptertest.Params(t, Info(), fmt.Sprintf(`{"providerUrl": %q}`, outer.URL)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.get(t.Context()); err == nil || asked {
		t.Errorf("a redirect to ftp: %v, asked %v", err, asked)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}

// TestOnlyPatternsMayTakeTime: all other lists are looked up in one step, or in one for
// each length of a range.
func TestOnlyPatternsMayTakeTime(t *testing.T) {
	t.Parallel()
	for params, want := range map[string]bool{
		`{"overrides": ["v1"]}`:                                       true,
		`{"entryType": "CASE_INSENSITIVE_STRINGS"}`:                   true,
		`{"entryType": "IP_ADDRESSES", "overrides": ["10.0.0.0/8"]}`:  true,
		`{"providerUrl": "http://127.0.0.1:1"}`:                       true,
		`{"entryType": "REGEX", "overrides": ["v.*"]}`:                false,
		`{"entryType": "REGEX", "providerUrl": "http://127.0.0.1:1"}`: false,
	} {
		h, err := build(adaptertest.Params(t, Info(), params))
		if err != nil {
			t.Fatalf("%s: %v", params, err)
		}
		if got := h.Immediate(); got != want {
			t.Errorf("%s: immediate is %v, want %v", params, got, want)
		}
	}
}
