// Package probe is what runs on the hosts of the benchmark: a server that answers, and
// a sender that asks at a fixed rate and measures each answer. The sender takes its
// orders by HTTP on loopback. Either can run an Envoy beside itself, for hosts that have
// no sidecar.
package probe
