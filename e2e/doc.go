// Package e2e holds the end-to-end tests: they start the mesh as a user does, with real
// Envoys, and see of it what a user sees. In: the binaries that `make build` makes, the
// fleet file, the sample application. Out: a verdict for each promise of the mesh.
//
// TestE2E01, 02 and 03 also run as an ordinary user. Tests that do no harm share one
// mesh and find it as it was started; tests that kill and stop have meshes of their own.
// No test skips: what cannot run here fails and says why.
package e2e
