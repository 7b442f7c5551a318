// Package decode turns the text of documents into objects and back, strictly. In: the
// bytes of a file, YAML or JSON, one or more documents, Lists of them too. Out: typed objects that know
// where each of their fields was written, and every mistake with file, line, column and
// field. It checks form only: whether weights add up or a service exists is for whoever
// takes the objects. It does no I/O and keeps nothing between calls.
//
// Two API groups are read: outrigger.dev/v1, and config.istio.io/v1alpha2 with the mixer
// kinds of Istio 0.2, which become Rule, Handler, Instance and AttributeManifest. Their
// expressions are left as they were written; Object.api_version tells the language.
package decode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// Limits of one file. MaxObjects is also the limit of everything that is applied at
// once; Documents returns more than that, so that the caller can say how many there are.
const (
	MaxBytes   = 4 << 20
	MaxObjects = 1000

	maxDepth    = 64
	maxNodes    = 1_000_000
	maxProblems = 100
)

// The API groups and versions that are read.
const (
	APIVersion      = "outrigger.dev/v1"
	IstioAPIVersion = "config.istio.io/v1alpha2"
)

// DefaultNamespace is where an object lives when nothing says otherwise.
const DefaultNamespace = "default"

// Decoded is one object and where it was written.
type Decoded struct {
	// Object has metadata and the oneof of its kind set. Metadata.revision is what the
	// document says about the revision it is based on.
	Object *configv1.Object
	// File is the name given to Documents; Line is that of the document's first key.
	File string
	Line int
	// Warnings are things that were taken and may be a mistake.
	Warnings []*pilotv1.Problem

	written string // kind and name as in the document
	places  map[string]place
	respell []respelling
}

// place is a position in a file.
type place struct{ line, column int }

// respelling maps a field path of the object to that of the document.
type respelling struct{ object, document string }

// Label names the object as its author did: "denier default/block-v3".
func (d Decoded) Label() string { return d.written }

// Problem returns a mistake in a field of the object, such as "spec.route[1].weight",
// with the position of that field or of the nearest thing around it that was written.
func (d Decoded) Problem(field, format string, args ...any) *pilotv1.Problem {
	path := field
	for _, r := range d.respell {
		if rest, ok := strings.CutPrefix(field, r.object); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			path = strings.TrimSuffix(r.document+rest, ".")
			break
		}
	}
	at := place{line: d.Line, column: 1}
	for p := path; p != ""; p = parent(p) {
		if found, ok := d.places[p]; ok {
			at = found
			break
		}
	}
	return &pilotv1.Problem{
		File: d.File, Line: int32(at.line), Column: int32(at.column),
		Object: d.written, Field: path, Message: fmt.Sprintf(format, args...),
	}
}

// parent cuts the last step off a field path.
func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// Documents reads the documents of one file. defaultNamespace is for objects that name
// none; empty means DefaultNamespace. Empty documents are skipped. When there is a
// problem the objects are still returned as far as they could be read, for the count
// only: nothing of a file with problems may be used.
func Documents(name string, content []byte, defaultNamespace string) ([]Decoded, []*pilotv1.Problem) {
	if defaultNamespace == "" {
		defaultNamespace = DefaultNamespace
	}
	r := &reader{file: name, namespace: defaultNamespace}
	if !r.plausible(content) {
		return nil, r.problems
	}
	next := yaml.NewDecoder(bytes.NewReader(content)).Decode
	docs, wrong := parseJSON(content)
	if docs != nil {
		next = docs.next
	}
	var out []Decoded
	for !r.stopped {
		var doc yaml.Node
		err := next(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.syntax(err, content, wrong)
			break
		}
		out = append(out, r.document(&doc)...)
	}
	return out, r.finish()
}
