// Package front is the part of a fleet that stays with the person who started it:
// outside of all namespaces, at the terminal.
//
// In: what the command line says, and Reports from the supervisor. Out: clear
// refusals before anything is started, a supervisor in namespaces of its own,
// ports on the machine's loopback, and lines for people. When this process ends,
// however it ends, the kernel ends the supervisor, and with it everything.
package front
