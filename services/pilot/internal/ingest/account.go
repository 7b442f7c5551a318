package ingest

import (
	"cmp"
	"slices"
	"strings"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Whom callers believe is the accounts of a service's workloads, and workloads join by
// labels of their own choice. One account is as good as a name for it, and a service
// whose workloads have none is outside of the mesh; several may be meant, or not.

// noAccount stands for that of workloads that have no identity.
const noAccount = "no account at all"

// linkAccounts warns of a Service that says of no account that it may stand for it, and
// whose workloads are of several.
func (c *checker) linkAccounts(o *configv1.Object, s *configv1.Service, warn report) {
	if len(s.GetAccounts()) > 0 {
		return
	}
	if accounts := c.accountsOf(o.GetMetadata().GetNamespace(), s, nil); len(accounts) > 1 {
		warn("spec.accounts", "missing, and its workloads run as %s: callers believe each of them; name those that may stand for it",
			strings.Join(accounts, ", "))
	}
}

// linkAccount warns of a Workload that joins a Service of others' accounts, and of one that
// does not join what its labels say. Of a service that comes in at the same time its own
// warning is enough.
func (c *checker) linkAccount(o *configv1.Object, warn report) {
	w, ns := o.GetWorkload(), o.GetMetadata().GetNamespace()
	for _, ref := range c.index.within[ns] {
		if s := c.next[ref].GetService(); selects(s, w) && !stands(s, w) {
			warn("spec.account", "%s selects these labels, and takes workloads of the accounts %s only: it does not send this one requests",
				ref, strings.Join(s.GetAccounts(), ", "))
		}
	}
	for _, ref := range c.index.open[ns] {
		s := c.next[ref].GetService()
		if !selects(s, w) {
			continue
		}
		others := c.accountsOf(ns, s, w)
		if len(others) > 0 && !slices.Contains(others, cmp.Or(w.GetAccount(), noAccount)) {
			warn("spec.account", "joins %s, which names no accounts and whose workloads run as %s: callers will believe this one as well",
				ref, strings.Join(others, ", "))
		}
	}
}

// selects tells whether w has the labels that s asks for. It is asked of every service
// about every workload of a namespace.
func selects(s *configv1.Service, w *configv1.Workload) bool {
	for key, value := range s.GetSelector() {
		if got, ok := w.GetLabels()[key]; !ok || got != value {
			return false
		}
	}
	return len(s.GetSelector()) > 0
}

// accountsOf lists what the workloads of a service run as, each once. One workload is left
// out.
func (c *checker) accountsOf(namespace string, s *configv1.Service, but *configv1.Workload) []string {
	var out []string
	for _, w := range c.index.near[namespace] {
		if w != but && selects(s, w) {
			out = append(out, cmp.Or(w.GetAccount(), noAccount))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
