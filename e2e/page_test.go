package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// page is the product page as a reader sees it.
type page struct {
	mesh.Answer
	// Reviews is the version that answered, Stars its colour: "black", "red" or "".
	Reviews, Stars string
	// NoReviews, NoDetails and NoRatings: the page says that they are missing.
	NoReviews, NoDetails, NoRatings bool
	// Hops is who answered: service to "answered", "failed" or "not-asked".
	Hops map[string]string
}

var (
	versionText = regexp.MustCompile(`data-version="([^"]*)"`)
	starText    = regexp.MustCompile(`data-color="(\w+)"`)
	hopText     = regexp.MustCompile(`data-service="([^"]*)" data-state="([^"]*)"`)
)

// What the page says when a part is missing.
const (
	noReviews = "Sorry, product reviews are currently unavailable for this book."
	noDetails = "Sorry, product details are currently unavailable for this book."
	noRatings = "Ratings service is currently unavailable"
)

// String is what matters of the page.
func (p page) String() string {
	return fmt.Sprintf("status %d after %v, reviews %q with stars %q, no reviews %v, no details %v, no ratings %v, hops %v",
		p.Status, p.Took.Round(time.Millisecond), p.Reviews, p.Stars, p.NoReviews, p.NoDetails, p.NoRatings, p.Hops)
}

func readPage(answer mesh.Answer) page {
	p := page{
		Answer:    answer,
		NoReviews: strings.Contains(answer.Body, noReviews),
		NoDetails: strings.Contains(answer.Body, noDetails),
		NoRatings: strings.Contains(answer.Body, noRatings),
		Hops:      map[string]string{},
	}
	if found := versionText.FindStringSubmatch(answer.Body); found != nil {
		p.Reviews = found[1]
	}
	if found := starText.FindStringSubmatch(answer.Body); found != nil {
		p.Stars = found[1]
	}
	for _, hop := range hopText.FindAllStringSubmatch(answer.Body, -1) {
		p.Hops[hop[1]] = hop[2]
	}
	return p
}

// browser asks the ingress, each time by a connection of its own.
var browser = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// ask gets a path from the ingress. user is who is signed in, "" for nobody.
func (s *site) ask(ctx context.Context, path, user string) (mesh.Answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return mesh.Answer{}, err
	}
	if user != "" {
		request.AddCookie(&http.Cookie{Name: "user", Value: user})
	}
	return mesh.Do(browser, request)
}

// page gets the product page.
func (s *site) page(ctx context.Context, user string) (page, error) {
	answer, err := s.ask(ctx, "/productpage", user)
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("the product page: status %d: %s", answer.Status, answer.Body)
	}
	return readPage(answer), err
}

// shows is nil when a number of pages in a row are as wanted.
func (s *site) shows(ctx context.Context, user string, pages int, want func(page) bool, what string) error {
	for i := range pages {
		p, err := s.page(ctx, user)
		if err != nil {
			return err
		}
		if !want(p) {
			return fmt.Errorf("page %d for user %q: want %s, got %s", i+1, user, what, p)
		}
	}
	return nil
}

// stars wants reviews of a version with the stars that it has.
func stars(version string) (func(page) bool, string) {
	colour := map[string]string{"v1": "", "v2": "black", "v3": "red"}[version]
	return func(p page) bool {
		return p.Reviews == version && p.Stars == colour && !p.NoReviews && !p.NoRatings
	}, fmt.Sprintf("reviews %s with stars %q", version, colour)
}

// showsStars is nil when some pages in a row show a version of reviews.
func (s *site) showsStars(ctx context.Context, user, version string, pages int) error {
	want, what := stars(version)
	return s.shows(ctx, user, pages, want, what)
}

// soon is how long a change may take to be seen after apply has returned.
const soon = time.Second

// seen expects that, within a second of a call that has just returned, what was wanted
// is to be seen, and that it stays.
func seen(t *testing.T, applied mesh.Result, look func(ctx context.Context) error) {
	t.Helper()
	began := time.Now()
	if err := await(t, soon, look); err != nil {
		t.Fatalf("not seen within %v of %q returning: %v", soon, strings.Join(applied.Args, " "), err)
	}
	t.Logf("%q took %v and was seen within %v", strings.Join(applied.Args, " "), applied.Took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	check(t, look(t.Context()))
}

// reviews asks for the reviews as JSON and returns the version that answered.
func (s *site) reviews(ctx context.Context, user string) (version string, answer mesh.Answer, err error) {
	answer, err = s.ask(ctx, "/api/v1/products/0/reviews", user)
	if err != nil {
		return "", answer, err
	}
	if answer.Status != http.StatusOK {
		return "", answer, fmt.Errorf("reviews: status %d: %s", answer.Status, answer.Body)
	}
	var doc struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal([]byte(answer.Body), &doc); err != nil {
		return "", answer, fmt.Errorf("reviews: %w", err)
	}
	if doc.Version == "" {
		return "", answer, errors.New("reviews: no version in " + answer.Body)
	}
	return doc.Version, answer, nil
}
