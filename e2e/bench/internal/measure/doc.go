// Package measure runs meshes and measures them: the path of a request against a pair
// of bare Envoys, the way of a change to all proxies, starts, memory. In: the
// repository's binaries. Out: rows of figures. What it starts it stops; what it cannot
// measure is an error.
package measure
