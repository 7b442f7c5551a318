package ingest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rule"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// link checks what an object of the world as it would be refers to.
func (c *checker) link(o *configv1.Object, say, warn report) {
	switch spec := o.GetSpec().(type) {
	case *configv1.Object_RouteRule:
		c.linkRoute(o, spec.RouteRule, say, warn)
	case *configv1.Object_Rule:
		c.linkRule(o, spec.Rule, say, warn)
	case *configv1.Object_Handler:
		c.exports(o, say)
		c.clashes(o, say)
	case *configv1.Object_Service:
		c.linkService(o, spec.Service, say)
		c.linkAccounts(o, spec.Service, warn)
		c.linkProtocols(o, spec.Service, c.newly(o, say, warn))
	case *configv1.Object_Workload:
		c.linkWorkload(o, warn)
		c.linkAccount(o, warn)
		c.linkPorts(o, c.newly(o, say, warn))
	}
}

// newly reports to say what o brings in, and to warn what is there already: that may have
// come by a registration, and what was accepted can be written again.
func (c *checker) newly(o *configv1.Object, say, warn report) report {
	if e, ok := c.view[model.RefOf(o)]; ok && same(e.Object, o) {
		return warn
	}
	return say
}

// host is the service that a reference means.
func (c *checker) host(n *configv1.ServiceName, namespace string) string {
	return model.Resolve(n, namespace, c.settings.Domain)
}

// service finds the Service of a host in the world as it would be.
func (c *checker) service(host string) (*configv1.Service, model.Ref) {
	rest, ok := strings.CutSuffix(host, ".svc."+c.settings.Domain)
	name, namespace, two := strings.Cut(rest, ".")
	if !ok || !two {
		return nil, model.Ref{}
	}
	ref := model.Ref{Kind: "Service", Namespace: namespace, Name: name}
	return c.next[ref].GetService(), ref
}

// linkRoute refuses routes to nowhere.
func (c *checker) linkRoute(o *configv1.Object, r *configv1.RouteRule, say, warn report) {
	ns := o.GetMetadata().GetNamespace()
	host := c.host(r.GetDestination(), ns)
	ruled, ref := c.service(host)
	if ruled == nil {
		say("spec.destination", "no service %s in the registry", host)
		return
	}
	if !slices.ContainsFunc(ruled.GetPorts(), isHTTP) {
		say("spec.destination", "%s has no HTTP port; routes are for HTTP only", ref)
	}
	c.linkSource(r.GetMatch().GetSource(), ns, warn)
	c.linkOrder(model.RefOf(o), host, warn)
	for i, w := range r.GetRoute() {
		field := fmt.Sprintf("spec.route[%d]", i)
		target, at := ruled, ref
		if w.GetDestination() != nil {
			to := c.host(w.GetDestination(), ns)
			if target, at = c.service(to); target == nil {
				say(field+".destination", "no service %s in the registry", to)
				continue
			}
			if !shareHTTP(ruled, target) {
				say(field+".destination", "%s has none of the HTTP ports of %s; requests keep their port", at, ref)
			}
		}
		if len(w.GetLabels()) > 0 && !c.anyWorkload(at.Namespace, target.GetSelector(), w.GetLabels()) {
			warn(field+".labels", "no workload of %s has these labels now; requests sent there are answered with 503", at)
		}
	}
}

// linkOrder warns of a rule that never comes to decide.
func (c *checker) linkOrder(self model.Ref, host string, warn report) {
	rules := c.index.routes[host]
	at := slices.IndexFunc(rules, func(r *model.Route) bool { return r.Ref == self })
	for _, before := range rules[:max(0, at)] {
		if !before.Hides(rules[at]) {
			continue
		}
		why := fmt.Sprintf("its precedence, %d, is larger", before.Precedence)
		if before.Precedence == rules[at].Precedence {
			why = "its precedence is the same, and its name is first"
		}
		warn("spec.precedence", "%s takes every request of this rule, because %s: this one does nothing", before.Ref, why)
		return
	}
}

// shareHTTP tells whether two services have an HTTP port in common.
func shareHTTP(a, b *configv1.Service) bool {
	return slices.ContainsFunc(a.GetPorts(), func(p *configv1.Port) bool {
		return isHTTP(p) && slices.ContainsFunc(b.GetPorts(), func(q *configv1.Port) bool {
			return isHTTP(q) && p.GetNumber() == q.GetNumber()
		})
	})
}

// linkSource warns of a rule for callers that there are not.
func (c *checker) linkSource(src *configv1.ServiceName, namespace string, warn report) {
	const field = "spec.match.source"
	labels := model.LabelsOf(src.GetLabels())
	if src.GetName() == "" && src.GetService() == "" {
		if labels != "" && !c.anyCaller(labels) {
			warn(field+".labels", "no workload has these labels now, and gateways call without labels: the rule concerns nobody")
		}
		return
	}
	host := c.host(src, namespace)
	s, ref := c.service(host)
	switch {
	case s == nil && host == c.settings.Ingress:
		if labels != "" {
			warn(field+".labels", "gateways call without labels: the rule concerns nobody; leave them out")
		}
	case s == nil:
		warn(field, "there is no service %s now", host)
	case labels != "" && !c.anyWorkload(ref.Namespace, s.GetSelector(), src.GetLabels()):
		warn(field+".labels", "no workload of %s has these labels now: the rule concerns nobody", ref)
	}
}

// anyCaller tells whether a workload of any namespace has labels.
func (c *checker) anyCaller(labels model.Labels) bool {
	for _, all := range c.index.near {
		if slices.ContainsFunc(all, func(w *configv1.Workload) bool { return labels.SubsetOf(w.GetLabels()) }) {
			return true
		}
	}
	return false
}

// anyWorkload tells whether a workload has all labels of two sets. An empty selector
// selects none.
func (c *checker) anyWorkload(namespace string, selector, labels map[string]string) bool {
	if len(selector) == 0 {
		return false
	}
	one, two := model.LabelsOf(selector), model.LabelsOf(labels)
	return slices.ContainsFunc(c.index.near[namespace], func(w *configv1.Workload) bool {
		return one.SubsetOf(w.GetLabels()) && two.SubsetOf(w.GetLabels())
	})
}

// linkRule checks that handlers and instances exist and fit together.
func (c *checker) linkRule(o *configv1.Object, r *configv1.Rule, say, warn report) {
	ns, decides, records := o.GetMetadata().GetNamespace(), false, false
	for i, a := range r.GetActions() {
		field := fmt.Sprintf("spec.actions[%d]", i)
		at := named("Handler", a.GetHandler(), ns)
		h := c.next[at].GetHandler()
		if h == nil {
			say(field+".handler", "%s does not exist", at)
		}
		for j, name := range a.GetInstances() {
			where := named("Instance", name, ns)
			in := c.next[where].GetInstance()
			spot := fmt.Sprintf("%s.instances[%d]", field, j)
			switch {
			case in == nil:
				say(spot, "%s does not exist", where)
			case h != nil && !slices.Contains(supports[h.GetAdapter()], in.GetTemplate()):
				say(spot, "%s is a %s, and the adapter %s takes %s only", where, in.GetTemplate(),
					h.GetAdapter(), strings.Join(supports[h.GetAdapter()], " and "))
			}
			check := in.GetTemplate() == "checknothing" || in.GetTemplate() == "listentry"
			decides, records = decides || check, records || in != nil && !check
		}
	}
	prg, err := c.language.Compile(r.GetMatch(), rule.Bool)
	if err != nil {
		say("spec.match", "%s", expressionError(err))
		return
	}
	if name, ok := late(prg); ok && decides {
		warn("spec.match", "%s is not known yet when a request is checked", name)
	} else {
		warnUnsent("spec.match", prg, warn)
	}
	if records {
		warnUnrecorded("spec.match", prg, warn)
	}
}

// linkService refuses two services with one address, or one way in.
func (c *checker) linkService(o *configv1.Object, s *configv1.Service, say report) {
	self := model.RefOf(o)
	if other, ok := another(c.index.services[s.GetAddress()], self); ok {
		say("spec.address", "%s is the address of %s", s.GetAddress(), other)
	}
	c.linkExternal(self, s, say)
	mine := ways(s)
	for _, way := range slices.Sorted(maps.Keys(mine)) {
		if other, ok := another(c.index.ways[way], self); ok {
			say(mine[way], "%s leads to %s already", way, other)
		}
	}
}

// linkExternal refuses to call something outside by a name of the mesh, or by a name
// that is another service's: requests for it would go to whichever comes first.
func (c *checker) linkExternal(self model.Ref, s *configv1.Service, say report) {
	for i, h := range s.GetExternalHosts() {
		field := fmt.Sprintf("spec.externalHosts[%d]", i)
		for _, end := range []string{"." + c.settings.Domain, ".svc." + c.settings.Domain} {
			if svc, ref := c.service(h + end); svc != nil {
				say(field, "%s is a name of %s", h, ref)
			}
		}
		if strings.HasSuffix(h, ".svc."+c.settings.Domain) {
			say(field, "%s is a name of the mesh", h)
		}
		if _, err := netip.ParseAddr(h); err == nil {
			say(field, "%s is an address, not a name", h)
		}
		if other, ok := another(c.index.external[h], self); ok {
			say(field, "%s leads to %s already", h, other)
		}
	}
}

// linkWorkload warns of an address that tells two workloads apart no longer.
func (c *checker) linkWorkload(o *configv1.Object, warn report) {
	if other, ok := another(c.index.workloads[o.GetWorkload().GetAddress()], model.RefOf(o)); ok {
		warn("spec.address", "is the address of %s as well: mixer cannot tell their requests apart", other)
	}
}

// used refuses changes and deletions that break what stays as it is.
func (c *checker) used() {
	touched := map[model.Ref]bool{}
	manifests := false
	for ref, d := range c.incoming {
		old := c.view[ref].Object
		touched[ref] = old != nil
		manifests = manifests || old.GetAttributeManifest() != nil && !proto.Equal(old.GetAttributeManifest(), d.Object.GetAttributeManifest())
	}
	for _, ref := range c.in.Deletes {
		touched[ref] = true
		manifests = manifests || ref.Kind == "AttributeManifest"
	}
	for _, ref := range sortedRefs(c.next) {
		if _, new := c.incoming[ref]; !new {
			c.stillGood(c.next[ref], touched, manifests)
		}
	}
}

// stillGood checks an object that stays, if anything changes that it refers to.
func (c *checker) stillGood(o *configv1.Object, touched map[model.Ref]bool, manifests bool) {
	self := model.RefOf(o)
	changed, found, gone := model.Ref{}, false, false
	for _, ref := range c.references(o) {
		switch {
		case touched[ref] && c.next[ref] == nil:
			gone = true
			c.refuse(fault.Precondition, &pilotv1.Problem{
				Object: ref.String(), Message: fmt.Sprintf("is used by %s; delete or change that first", self)})
		case touched[ref]:
			changed, found = ref, true
		}
	}
	expressions := manifests && (o.GetRule() != nil || o.GetInstance() != nil)
	if gone || !found && !expressions {
		return
	}
	if !found {
		changed = c.manifest()
	}
	silent := func(string, string, ...any) {}
	say := func(field, format string, args ...any) {
		text := fmt.Sprintf("is used by %s, where %s would then be wrong: %s", self, field, fmt.Sprintf(format, args...))
		if d, ok := c.incoming[changed]; ok {
			c.refuse(fault.Precondition, d.Problem("", "%s", text))
			return
		}
		c.refuse(fault.Precondition, &pilotv1.Problem{Object: changed.String(), Message: text})
	}
	if expressions && o.GetInstance() != nil {
		c.instance(o.GetInstance(), say, silent)
	}
	c.link(o, say, silent)
}

// manifest names the first manifest that is changed or deleted.
func (c *checker) manifest() model.Ref {
	for _, d := range c.in.Documents {
		if d.Object.GetAttributeManifest() != nil {
			return model.RefOf(d.Object)
		}
	}
	i := slices.IndexFunc(c.in.Deletes, func(r model.Ref) bool { return r.Kind == "AttributeManifest" })
	return c.in.Deletes[max(i, 0)]
}

// references lists what an object refers to.
func (c *checker) references(o *configv1.Object) []model.Ref {
	var out []model.Ref
	ns := o.GetMetadata().GetNamespace()
	switch spec := o.GetSpec().(type) {
	case *configv1.Object_RouteRule:
		for _, n := range append([]*configv1.DestinationWeight{{Destination: spec.RouteRule.GetDestination()}}, spec.RouteRule.GetRoute()...) {
			if _, ref := c.service(c.host(n.GetDestination(), ns)); n.GetDestination() != nil {
				out = append(out, ref)
			}
		}
	case *configv1.Object_Rule:
		for _, a := range spec.Rule.GetActions() {
			out = append(out, named("Handler", a.GetHandler(), ns))
			for _, name := range a.GetInstances() {
				out = append(out, named("Instance", name, ns))
			}
		}
	case *configv1.Object_Handler:
		for _, v := range spec.Handler.GetParams().GetFields()["metrics"].GetListValue().GetValues() {
			name := v.GetStructValue().GetFields()["instanceName"].GetStringValue()
			out = append(out, named("Instance", name, ns))
		}
	}
	return out
}
