package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/internal/rule"
	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// Limits of what a rule may ask of mixer.
const (
	maxTimeout = 10 * time.Second
	maxActions = 100
)

// languages makes the language of the world as it would be, from all its manifests, and
// refuses manifests that contradict another.
func (c *checker) languages() {
	var all []*configv1.AttributeManifest
	for _, ref := range sortedRefs(c.next) {
		if m := c.next[ref].GetAttributeManifest(); m != nil {
			all = append(all, m)
		}
	}
	var err error
	if c.language, err = rule.New(all...); err == nil {
		return
	}
	for _, d := range c.in.Documents {
		m := d.Object.GetAttributeManifest()
		if m == nil {
			continue
		}
		if _, own := rule.New(m); own != nil {
			c.on(d)("spec.attributes", "%v", own)
		} else {
			c.on(d)("spec.attributes", "together with the other manifests: %v", err)
		}
	}
	if len(c.refusal.Problems) > 0 {
		return
	}
	// Manifests that were accepted once are contradictory: rules use what is built in.
	c.language, err = rule.New()
	for _, d := range c.in.Documents {
		if err != nil {
			c.on(d)("", "%v", err)
		}
	}
}

// translate turns the expressions of Istio's mixer kinds into CEL.
func (c *checker) translate() {
	for _, d := range c.in.Documents {
		if d.Object.GetApiVersion() != decode.IstioAPIVersion {
			c.asWritten(d.Object.GetRule(), c.on(d))
			continue
		}
		if r := d.Object.GetRule(); r != nil && r.GetMatch() != "" {
			r.WrittenMatch = r.Match
			r.Match = c.translated(r.Match, "spec.match", c.on(d))
		}
		if i := d.Object.GetInstance(); i != nil {
			eachExpression(i.GetParams(), "spec.params", func(at, text string) string {
				return c.translated(text, at, c.on(d))
			})
		}
	}
}

// asWritten refuses what a rule of ours says of an older spelling, unless its match is
// the translation of that: this is how such a rule looks when it is read.
func (c *checker) asWritten(r *configv1.Rule, say report) {
	if r.GetWrittenMatch() == "" {
		return
	}
	const field = "spec.writtenMatch"
	switch out, err := c.language.Translate02(r.GetWrittenMatch()); {
	case err != nil:
		say(field, "%s; leave it out: it is for rules that were written in %s", expressionError(err), decode.IstioAPIVersion)
	case out != r.GetMatch():
		say(field, "means %s, and spec.match says otherwise; leave it out: it is for rules that were written in %s",
			out, decode.IstioAPIVersion)
	}
}

func (c *checker) translated(text, field string, say report) string {
	out, err := c.language.Translate02(text)
	if err != nil {
		say(field, "%s", expressionError(err))
	}
	return out
}

// expressionError says what is wrong and where in the expression.
func expressionError(err error) string {
	var e *rule.Error
	if errors.As(err, &e) {
		return "expression: " + e.Error()
	}
	return err.Error()
}

// eachExpression replaces every text in the params of a template, and in the mappings
// among them.
func eachExpression(s *structpb.Struct, field string, replace func(at, text string) string) {
	for k, v := range s.GetFields() {
		if inner := v.GetStructValue(); inner != nil {
			for name, item := range inner.GetFields() {
				inner.Fields[name] = structpb.NewStringValue(replace(field+"."+k+"["+name+"]", item.GetStringValue()))
			}
			continue
		}
		s.Fields[k] = structpb.NewStringValue(replace(field+"."+k, v.GetStringValue()))
	}
}

// rule checks one Rule by itself.
func (c *checker) rule(d decode.Decoded, r *configv1.Rule) {
	say := c.on(d)
	if match, err := c.language.Compile(r.GetMatch(), rule.Bool); err != nil {
		say("spec.match", "%s", expressionError(err))
	} else if onlyTCP(match) {
		say("spec.match", "%s", expressionError(rule.Find(cmp.Or(r.GetWrittenMatch(), r.GetMatch()), protocol,
			"is true for TCP only; policy on TCP: "+notYet)))
	}
	if d.Object.GetMetadata().GetLabels()["istio-protocol"] == "tcp" {
		say("metadata.labels[istio-protocol]", "rules for TCP: "+notYet)
	}
	span(r.GetTimeout(), time.Millisecond, maxTimeout, "spec.timeout", say)
	switch n := len(r.GetActions()); {
	case n == 0:
		say("spec.actions", "missing: a rule without actions does nothing")
	case n > maxActions:
		say("spec.actions", "%d actions; at most %d are taken", n, maxActions)
	}
	for i, a := range r.GetActions() {
		field := fmt.Sprintf("spec.actions[%d]", i)
		if a.GetHandler() == "" {
			say(field+".handler", "missing")
		}
		if len(a.GetInstances()) == 0 {
			say(field+".instances", "missing: an action hands at least one instance to its handler")
		}
	}
}

// protocol is the attribute that tells requests from connections.
const protocol = "context.protocol"

// onlyTCP reports whether a match can be true for connections and for no request.
func onlyTCP(match *rule.Program) bool {
	of := func(name string) bool { return rule.MayConcern(match, map[string]any{protocol: name}) }
	return of("tcp") && !of("http") && !of("grpc")
}

// named finds what "name" or "namespace/name" means in a namespace.
func named(kind, reference, namespace string) model.Ref {
	if ns, name, ok := strings.Cut(reference, "/"); ok {
		return model.Ref{Kind: kind, Namespace: ns, Name: name}
	}
	return model.Ref{Kind: kind, Namespace: namespace, Name: reference}
}
