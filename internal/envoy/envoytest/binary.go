// Package envoytest is what tests of a proxy's companions need: the Envoy binary, and a
// pilot that says what the test wants said. The fake is an honest server on loopback
// with real TLS; nothing here is for use outside of tests.
package envoytest

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// Binary returns the path of the Envoy that the project runs: OUTRIGGER_ENVOY, else
// what "make" installed in .tools. Without one the test fails: it has nothing to test.
func Binary(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("OUTRIGGER_ENVOY"); p != "" {
		return p
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		p := filepath.Join(dir, ".tools", "envoy", "1.40.0", "envoy")
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Fatal("no Envoy: run make setup, or set OUTRIGGER_ENVOY to the binary of Envoy 1.40.0")
	return ""
}

// FreePort returns an address on loopback that nothing listened on a moment ago.
func FreePort(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it only held the port
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// Dir returns a folder with a path short enough for Unix sockets, gone when the test
// ends.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "or")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if os.Getenv("KEEP") == "" {
			_ = os.RemoveAll(dir)
		} else {
			println(dir)
		}
	})
	return dir
}
