package ingest

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Limits of names and of one object. maxObject is below what one message of the bus
// may have.
const (
	maxName       = 253
	maxLabel      = 63
	maxObject     = 900 << 10
	maxAnnotation = 256 << 10
)

var (
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	// labelText is what keys and values of labels are made of. Source:
	// config.istio.io/v1alpha2; commas and equal signs join labels elsewhere.
	labelText = regexp.MustCompile(`^[-A-Za-z0-9_./]*$`)
)

func isLabel(s string) bool { return len(s) <= maxLabel && dnsLabel.MatchString(s) }

// isDomain accepts DNS-1123 subdomains, single labels among them.
func isDomain(s string) bool {
	if len(s) > maxName {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !isLabel(part) {
			return false
		}
	}
	return true
}

// names checks the metadata, and what no object may exceed.
func names(o *configv1.Object, say report) {
	m := o.GetMetadata()
	switch {
	case !isDomain(m.GetName()):
		say("metadata.name", "%q: want lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit, at most %d", m.GetName(), maxName)
	case o.GetService() != nil && !isLabel(m.GetName()):
		say("metadata.name", "%q: the name of a Service is one DNS label: no dots, at most %d characters", m.GetName(), maxLabel)
	}
	if !isLabel(m.GetNamespace()) {
		say("metadata.namespace", "%q: want lower-case letters, digits and '-', at most %d", m.GetNamespace(), maxLabel)
	}
	labels(m.GetLabels(), "metadata.labels", say)
	if n := proto.Size(&configv1.Metadata{Annotations: m.GetAnnotations()}); n > maxAnnotation {
		say("metadata.annotations", "%d bytes; at most %d are kept", n, maxAnnotation)
	}
	if n := proto.Size(o); n > maxObject {
		say("", "the object has %d bytes; at most %d are kept", n, maxObject)
	}
}

// labels checks keys and values.
func labels(m map[string]string, field string, say report) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		at := field + "[" + k + "]"
		switch {
		case k == "" || len(k) > maxName || !labelText.MatchString(k):
			say(at, "the key of a label has 1 to %d letters, digits, '-', '_', '.' and '/'", maxName)
		case len(m[k]) > maxName || !labelText.MatchString(m[k]):
			say(at, "the value of a label has at most %d letters, digits, '-', '_', '.' and '/'", maxName)
		}
	}
}
