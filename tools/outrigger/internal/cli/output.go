package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// printMessage writes an answer of pilot as json or yaml.
func printMessage(out io.Writer, format string, m proto.Message) error {
	text, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	return printText(out, format, text)
}

// printText writes JSON as json or yaml.
func printText(out io.Writer, format string, text []byte) error {
	if format == "json" {
		return indented(out, text)
	}
	var doc any
	if err := yaml.Unmarshal(text, &doc); err != nil { // it leaves whole numbers whole
		return err
	}
	enc := yaml.NewEncoder(out)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return err
	}
	return enc.Close()
}

func indented(out io.Writer, text []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := out.Write(b.Bytes())
	return err
}

// printObjects writes objects as a table, as documents, or by name. In JSON several are one
// document, a List; one that was asked for alone is itself.
func printObjects(out io.Writer, objects []*configv1.Object, format string, namespaces, alone bool) error {
	switch format {
	case "name":
		for _, o := range objects {
			fmt.Fprintln(out, visible(objectName(o)))
		}
		return nil
	case "table":
		objectTable(objects, namespaces).print(out)
		return nil
	case "json":
		encode := func() ([]byte, error) { return decode.EncodeListJSON(objects) }
		if alone && len(objects) == 1 {
			encode = func() ([]byte, error) { return decode.EncodeJSON(objects[0]) }
		}
		text, err := encode()
		if err != nil {
			return err
		}
		return indented(out, text)
	}
	for i, o := range objects {
		text, err := decode.Encode(o)
		if err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprintln(out, "---")
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// table has columns as wide as what is in them, but for the last one, which is cut to
// what the line has left.
type table struct {
	head []string
	rows [][]string
}

// least is how much of the last column is shown however narrow the line is.
const least = 12

func (t *table) add(cells ...string) {
	for i, cell := range cells {
		cells[i] = visible(cell)
	}
	t.rows = append(t.rows, cells)
}

func (t *table) print(out io.Writer) { t.write(out, width(out)) }

// write prints lines of a width.
func (t *table) write(out io.Writer, width int) {
	if len(t.rows) == 0 {
		return
	}
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	last, left := len(widths)-1, width
	for _, w := range widths[:last] {
		left -= w + 2
	}
	left = max(left, least)
	for _, row := range append([][]string{t.head}, t.rows...) {
		var b strings.Builder
		for i, cell := range row[:last] {
			b.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		if cell := []rune(row[last]); len(cell) > left {
			b.WriteString(string(cell[:left-1]) + "…")
		} else {
			b.WriteString(row[last])
		}
		fmt.Fprintln(out, strings.TrimRight(b.String(), " "))
	}
}

// objectTable has a line for each object.
func objectTable(objects []*configv1.Object, namespaces bool) *table {
	kinds := map[string]bool{}
	for _, o := range objects {
		kinds[o.GetKind()] = true
	}
	row := func(o *configv1.Object, kind, namespace, name, revision, origin, detail string) []string {
		var cells []string
		if len(kinds) > 1 {
			cells = append(cells, kind)
		}
		if namespaces {
			cells = append(cells, namespace)
		}
		return append(cells, name, revision, origin, detail)
	}
	t := &table{head: row(nil, "KIND", "NAMESPACE", "NAME", "REVISION", "ORIGIN", "WHAT")}
	for _, o := range objects {
		m := o.GetMetadata()
		t.add(row(o, o.GetKind(), m.GetNamespace(), m.GetName(), fmt.Sprint(m.GetRevision()), origin(m.GetOrigin()), detail(o))...)
	}
	return t
}

// origin leaves out the folders of a file.
func origin(o string) string {
	if path, ok := strings.CutPrefix(o, "file:"); ok {
		return "file:" + filepath.Base(path)
	}
	return o
}

// detail says in a few words what an object does.
func detail(o *configv1.Object) string {
	switch spec := o.GetSpec().(type) {
	case *configv1.Object_RouteRule:
		return routeDetail(spec.RouteRule)
	case *configv1.Object_Rule:
		var handlers []string
		for _, a := range spec.Rule.GetActions() {
			handlers = append(handlers, a.GetHandler())
		}
		match := ""
		if spec.Rule.GetMatch() != "" {
			match = " if " + spec.Rule.GetMatch()
		}
		return strings.Join(handlers, ", ") + match
	case *configv1.Object_Handler:
		return spec.Handler.GetAdapter()
	case *configv1.Object_Instance:
		return spec.Instance.GetTemplate()
	case *configv1.Object_AttributeManifest:
		return fmt.Sprintf("%d attributes", len(spec.AttributeManifest.GetAttributes()))
	case *configv1.Object_Service:
		var ports []string
		for _, p := range spec.Service.GetPorts() {
			ports = append(ports, fmt.Sprintf("%s:%d", p.GetName(), p.GetNumber()))
		}
		return strings.TrimSpace(strings.Join(ports, ",") + " " + labelText(spec.Service.GetSelector()) + " " + spec.Service.GetAddress())
	case *configv1.Object_Workload:
		state := ""
		if s := spec.Workload.GetState(); s != configv1.Workload_READY && s != configv1.Workload_STATE_UNSPECIFIED {
			state = " " + strings.ToLower(s.String())
		}
		return spec.Workload.GetAddress() + state + " " + labelText(spec.Workload.GetLabels())
	}
	return ""
}

func labelText(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+m[k])
	}
	return strings.Join(parts, ",")
}

// routeDetail is "reviews: version=v1 50%, version=v3 50%, if cookie".
func routeDetail(r *configv1.RouteRule) string {
	target := func(n *configv1.ServiceName) string { return n.GetName() + n.GetService() }
	var parts []string
	for _, w := range r.GetRoute() {
		part := labelText(w.GetLabels())
		if w.GetDestination() != nil {
			part = strings.TrimSpace(target(w.GetDestination()) + " " + part)
		}
		if w.GetWeight() != 0 {
			part += fmt.Sprintf(" %d%%", w.GetWeight())
		}
		parts = append(parts, strings.TrimSpace(part))
	}
	if headers := r.GetMatch().GetRequest().GetHeaders(); len(headers) > 0 {
		parts = append(parts, "if "+strings.Join(slices.Sorted(maps.Keys(headers)), " and "))
	}
	if r.GetHttpFault() != nil {
		parts = append(parts, "with faults")
	}
	return strings.TrimSuffix(target(r.GetDestination())+": "+strings.Join(parts, ", "), ": ")
}
