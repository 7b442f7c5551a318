// Package supervise is the part of a fleet inside the namespaces. It is the first
// process of a process namespace: when it ends, however it ends, the kernel ends
// everything else in the fleet, and with the last process go the namespaces and
// the mounts.
//
// In: Orders with a plan on an inherited socket, requests on the control socket.
// Out: processes kept running in the networks they belong to, Reports on the
// inherited socket, and the file run/fleet.json. It decides nothing that the plan
// could have decided, and prints nothing but its own log.
package supervise
