// Package mesh runs a whole mesh as a user would, and opens every door to it that a
// test needs: the command line, the services' sockets, the networks of the hosts, the
// proxies' admin sockets. In: the repository's binaries and fleet file, and changes to
// the latter. Out: real processes, and what they answer. It judges nothing: that is
// for tests.
//
// What it starts ends with it: a mesh that is not stopped ends with the process that
// started it.
package mesh
