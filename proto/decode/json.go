package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// documents are values that have been parsed already.
type documents []*yaml.Node

// next gives one document after the other, then io.EOF, as a yaml.Decoder does.
func (d *documents) next(into any) error {
	if len(*d) == 0 {
		return io.EOF
	}
	*into.(*yaml.Node) = *(*d)[0]
	*d = (*d)[1:]
	return nil
}

// jsonReader makes YAML nodes from JSON, which differs from YAML in its escapes.
type jsonReader struct {
	dec          *json.Decoder
	content      []byte
	offset       int // up to where line and column count
	line, column int
}

// jsonError says why content is no JSON, and where.
type jsonError struct {
	place
	err error
	// meant tells that content begins as JSON does: with a key in quotes, and a colon.
	meant bool
}

var (
	errTrailing = errors.New("text after the end of the document: take it out, or put it into a file of its own")
	errHalf     = errors.New("the file ends in the middle of the document: a bracket or a quote is missing")
)

var likeJSON = regexp.MustCompile(`^\s*\{\s*"[^"\n]*"\s*:`)

// parseJSON reads one JSON value or several in a row. docs is nil if content is no JSON:
// it may still be YAML.
func parseJSON(content []byte) (docs *documents, wrong *jsonError) {
	if start := bytes.TrimLeft(content, " \t\r\n"); len(start) == 0 || start[0] != '{' {
		return nil, nil
	}
	r := &jsonReader{dec: json.NewDecoder(bytes.NewReader(content)), content: content, line: 1, column: 1}
	r.dec.UseNumber()
	docs = &documents{}
	for {
		n, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			r.at(&yaml.Node{})
			switch {
			case len(*docs) > 0 && n == nil:
				err = errTrailing
			case errors.Is(err, io.ErrUnexpectedEOF):
				err = errHalf
			}
			return nil, &jsonError{place{r.line, r.column}, err, likeJSON.Match(content)}
		}
		*docs = append(*docs, &yaml.Node{Kind: yaml.DocumentNode, Line: n.Line, Column: n.Column, Content: []*yaml.Node{n}})
	}
}

// at moves line and column to the start of the next token.
func (r *jsonReader) at(n *yaml.Node) {
	next := int(r.dec.InputOffset())
	for next < len(r.content) && bytes.IndexByte([]byte(" \t\r\n,:"), r.content[next]) >= 0 {
		next++
	}
	for _, c := range string(r.content[r.offset:next]) {
		r.column++
		if c == '\n' {
			r.line, r.column = r.line+1, 1
		}
	}
	r.offset = next
	n.Line, n.Column = r.line, r.column
}

// value reads one value.
func (r *jsonReader) value(depth int) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	r.at(n)
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	switch t := token.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		if t == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		return n, r.items(n, depth)
	case string:
		n.Tag, n.Value, n.Style = "!!str", t, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!float", t.String()
		if decimal.MatchString(n.Value) {
			n.Tag = "!!int"
		}
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(t)
	case nil:
		n.Tag = "!!null"
	}
	return n, nil
}

// items reads the inside of a list or an object, keys and values alike.
func (r *jsonReader) items(n *yaml.Node, depth int) error {
	for r.dec.More() {
		item, err := r.value(depth + 1)
		if err != nil {
			return notEnd(err)
		}
		n.Content = append(n.Content, item)
	}
	_, err := r.dec.Token()
	return notEnd(err)
}

// notEnd tells the end within a value from the end of the file.
func notEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
