package rest_test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

func TestIdleConnectionsDoNotKeepProbesOut(t *testing.T) {
	s := open(t)
	health := func(after int) {
		t.Helper()
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		if code, body := s.get(t, client, http.MethodGet, "http://"+s.cfg.Ops+"/healthz"); code != http.StatusOK {
			t.Errorf("beside %d idle connections: %d %s", after, code, body)
		}
	}
	health(0)
	var idle []net.Conn
	for range 300 {
		conn, err := net.Dial("tcp", s.cfg.Ops)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	health(len(idle))
	if err := idle[0].SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := idle[0].Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("first of the idle connections: read %d, %v, want its end", n, err)
	}
}
