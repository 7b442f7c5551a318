package resolver

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnIdleConnectionEndsInSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{idle: idle}
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			for s.converse(server) {
			}
		}()
		begun := time.Now()
		n, err := client.Read(make([]byte, 1))
		if took := time.Since(begun); n != 0 || err != io.EOF || took != 3*time.Second {
			t.Errorf("read %d, %v after %s, want the end after 3 s", n, err, took)
		}
	})
}
