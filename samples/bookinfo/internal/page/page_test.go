package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
)

// whole is a view in which everything is there.
func whole(version, color string) View {
	by := book.Origin{Version: version, Pod: "reviews-" + version}
	product, _ := book.FindProduct(0)
	details, _ := book.FindDetails(0, book.Origin{Version: "v1", Pod: "details-v1"})
	reviews, _ := book.FindReviews(0, by)
	if color != "" {
		reviews.Reviews[0].Rating = &book.Rating{Stars: 5, Color: color}
		reviews.Reviews[1].Rating = &book.Rating{Stars: 4, Color: color}
	}
	return View{Product: product, Details: &details, Reviews: &reviews, Hops: []Hop{
		{Service: "reviews", Version: version, Pod: by.Pod, State: Answered, Note: "3 ms"},
	}}
}

func TestRender(t *testing.T) {
	p := New()
	noRatings := whole("v3", "")
	for i := range noRatings.Reviews.Reviews {
		noRatings.Reviews.Reviews[i].Rating = &book.Rating{Error: book.NoRatings}
	}
	broken := View{Product: noRatings.Product, Hops: []Hop{{Service: "reviews", State: Failed, Note: "HTTP 403"}}}
	signedIn := whole("v1", "")
	signedIn.User = "jason"

	const (
		detailsError = "Error fetching product details! Sorry, product details are currently unavailable for this book."
		reviewsError = "Sorry, product reviews are currently unavailable for this book."
		ratingsError = "Ratings service is currently unavailable"
		on, off      = `class="on"`, `class="off"`
	)
	for _, c := range []struct {
		name string
		view View
		want map[string]int // text and how often it stands on the page
	}{
		{"v1", whole("v1", ""), map[string]int{
			"The Comedy of Errors</h1>": 1, on: 0, off: 0, "reviews v1 · no stars": 1, "Two Hulls Press": 1,
			detailsError: 0, reviewsError: 0, ratingsError: 0, `action="/login"`: 1, `action="/logout"`: 0,
		}},
		{"v2", whole("v2", "black"), map[string]int{
			on: 9, off: 1, `data-color="black"`: 2, `data-color="red"`: 0, "reviews v2 · black stars": 1, "5 of 5 black stars": 1, "4 of 5 black stars": 1,
		}},
		{"v3", whole("v3", "red"), map[string]int{on: 9, off: 1, `data-color="red"`: 2, "reviews v3 · red stars": 1, `title="reviews-v3"`: 1}},
		{"no ratings", noRatings, map[string]int{on: 0, ratingsError: 2, reviewsError: 0, "reviews v3 · no stars": 1}},
		{"nothing answers", broken, map[string]int{detailsError: 1, reviewsError: 1, "HTTP 403": 1, `data-state="failed"`: 1}},
		{"signed in", signedIn, map[string]int{`<strong id="user">jason</strong>`: 1, `action="/login"`: 0, `action="/logout"`: 1}},
	} {
		_, body, _ := strings.Cut(string(p.Render(c.view)), "</style>")
		body = regexp.MustCompile(`(?s)<svg class="cover".*?</svg>`).ReplaceAllString(body, "")
		for text, want := range c.want {
			if got := strings.Count(body, text); got != want {
				t.Errorf("%s: %q stands %d times on the page, want %d", c.name, text, got, want)
			}
		}
	}
}

func TestRenderEscapes(t *testing.T) {
	const evil = `"><script>alert('x')</script>`
	v := whole("v2", "black")
	v.User = evil
	v.Details.Publisher = evil
	v.Reviews.Version = evil
	v.Reviews.Reviews[0].Text = evil
	v.Reviews.Reviews[0].Name = evil
	v.Reviews.Reviews[0].Rating = &book.Rating{Stars: 3, Color: evil}
	v.Reviews.Reviews[1].Rating = &book.Rating{Error: evil}
	v.Hops = []Hop{{Service: evil, Version: evil, Pod: evil, State: State(evil), Note: evil}}
	doc := New().Render(v)
	if bytes.Contains(doc, []byte("<script")) {
		t.Error("text of others became markup")
	}
	if got := bytes.Count(doc, []byte("&lt;script")); got < 12 {
		t.Errorf("%d places show the text escaped, want all 12 or more", got)
	}
	if bytes.Contains(doc, []byte(`"">`)) {
		t.Error("text of others ended an attribute")
	}
}

func TestPolicyFitsThePage(t *testing.T) {
	p := New()
	for name, v := range map[string]View{"empty": {}, "whole": whole("v3", "red")} {
		doc := string(p.Render(v))
		style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(doc)
		if style == nil || !strings.Contains(style[1], "--accent") {
			t.Fatalf("%s: style sheet is not on the page", name)
		}
		sum := sha256.Sum256([]byte(style[1]))
		if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(p.Policy(), want) {
			t.Errorf("%s: policy %q does not allow style %s", name, p.Policy(), want)
		}
		if strings.Contains(style[1], "url(") || strings.Contains(style[1], "@import") {
			t.Errorf("%s: style sheet loads something", name)
		}
		for _, attr := range regexp.MustCompile(`\b(?:src|href|action|style|on[a-z]+)="([^"]*)`).FindAllStringSubmatch(doc, -1) {
			local := strings.HasPrefix(attr[1], "/") && !strings.HasPrefix(attr[1], "//")
			if !local && !strings.HasPrefix(attr[1], "#") && !strings.HasPrefix(attr[1], "data:image/svg+xml,") {
				t.Errorf("%s: attribute %s needs something that the policy forbids", name, attr[0])
			}
		}
	}
}

// TestMarkup checks that what is opened is closed: the page is written so that it is nearly XML.
func TestMarkup(t *testing.T) {
	doc := string(New().Render(whole("v3", "red")))
	doc = strings.Replace(doc, "<!doctype html>", "", 1)
	doc = regexp.MustCompile(`<(meta|link|input)([^>]*)>`).ReplaceAllStringFunc(doc, func(tag string) string {
		return strings.ReplaceAll(strings.TrimSuffix(tag, ">"), " required", "") + "/>"
	})
	d := xml.NewDecoder(strings.NewReader(doc))
	ids := map[string]int{}
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("markup: %v", err)
		}
		if el, ok := tok.(xml.StartElement); ok {
			for _, a := range el.Attr {
				if a.Name.Local == "id" {
					ids[a.Value]++
				}
			}
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("id %q is given %d times", id, n)
		}
	}
	for _, ref := range regexp.MustCompile(`(?:href="#|labelledby="|for="|url\(#)([a-z-]+)`).FindAllStringSubmatch(doc, -1) {
		if ids[ref[1]] == 0 {
			t.Errorf("%s refers to nothing", ref[0])
		}
	}
}
