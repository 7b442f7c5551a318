// Package page makes the product page: a view in, HTML out. Everything the page needs is in that one document; it runs
// no script and loads nothing.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the template
	"encoding/base64"
	"html/template"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// State says what became of the call to a service.
type State string

// The states of a Hop. They are also the names of classes in the style sheet.
const (
	Answered State = "answered"
	Failed   State = "failed"
	NotAsked State = "unasked"
)

// Hop is one service that had, or might have had, a part in the page.
type Hop struct {
	Service string
	Version string // "" if it did not say
	Pod     string
	State   State
	Note    string
}

// View is what the page shows. User may be any text. Details and Reviews are nil if they could not be had.
type View struct {
	User    string
	Product book.Product
	Details *book.Details
	Reviews *book.Reviews
	Hops    []Hop
}

// StarColor returns the colour of the stars, or "" if there are none.
func (v View) StarColor() string {
	if v.Reviews == nil {
		return ""
	}
	for _, r := range v.Reviews.Reviews {
		if r.Rating != nil && r.Rating.Color != "" {
			return r.Rating.Color
		}
	}
	return ""
}

// Page renders views. It is immutable.
type Page struct {
	tmpl   *template.Template
	policy string
}

// New returns the page.
func New() *Page {
	funcs := template.FuncMap{
		"style":              func() template.CSS { return template.CSS(pageCSS) },
		"detailsUnavailable": func() string { return book.DetailsUnavailable },
		"reviewsUnavailable": func() string { return book.ReviewsUnavailable },
	}
	p := &Page{tmpl: template.Must(template.New("page").Funcs(funcs).Parse(pageHTML))}
	p.policy = policyFor(p.Render(View{}))
	return p
}

// Render returns the document.
func (p *Page) Render(v View) []byte {
	var out bytes.Buffer
	if err := p.tmpl.Execute(&out, v); err != nil {
		panic("bookinfo: page cannot be rendered: " + err.Error())
	}
	return out.Bytes()
}

// Policy returns the Content-Security-Policy under which the page works: its own style sheet, by hash, and its forms.
func (p *Page) Policy() string { return p.policy }

func policyFor(doc []byte) string {
	_, rest, _ := bytes.Cut(doc, []byte("<style>"))
	style, _, _ := bytes.Cut(rest, []byte("</style>"))
	sum := sha256.Sum256(style)
	return "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}
