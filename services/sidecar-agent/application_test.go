package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// served is an application that is asked by hand.
type served struct {
	*application
	log bytes.Buffer

	mu     sync.Mutex
	answer string // to every request; "" for none
	closed bool
	asked  string // the last request's first lines
}

func serve(ports Ports, health string) *served {
	s := &served{}
	s.application = newApplication(Config{Ports: ports, Health: health}, slog.New(slog.NewTextHandler(&s.log, nil)))
	s.dial = s.accept
	return s
}

func (s *served) accept(_ context.Context, _, address string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	go s.handle(there, address, s.answer)
	return here, nil
}

func (s *served) handle(c net.Conn, address, answer string) {
	defer c.Close() // a test
	head := bufio.NewReader(c)
	line, err := head.ReadString('\n')
	if err != nil {
		return // it was a connection, no more
	}
	s.mu.Lock()
	s.asked = address + " " + strings.TrimSpace(line)
	s.mu.Unlock()
	for line != "\r\n" && err == nil {
		line, err = head.ReadString('\n')
	}
	if answer == "" {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	_, _ = io.WriteString(c, answer)
}

func (s *served) set(answer string, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.closed = answer, closed
}

const (
	well = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	ill  = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
)

var httpPort = Ports{{"http", 9080}, {"more", 9081}}

// run asks until the test ends.
func (s *served) run(t *testing.T) {
	go func() {
		for t.Context().Err() == nil {
			select {
			case <-t.Context().Done():
			case <-time.After(s.ask(t.Context())):
			}
		}
	}()
	synctest.Wait()
}

func TestWhatCountsAsWell(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   string // "" for well
	}{
		"200":              {well, ""},
		"204":              {"HTTP/1.1 204 No Content\r\n\r\n", ""},
		"302":              {"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", ""},
		"HTTP/1.0":         {"HTTP/1.0 200 OK\r\n\r\nok", ""},
		"endless":          {well[:17] + "\r\n" + strings.Repeat("x", 1<<20), ""},
		"199 alone":        {"HTTP/1.1 199 Odd\r\n\r\n", "application: it does not answer GET /health by HTTP"},
		"103 and 200":      {"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ""},
		"103 and 503":      {"HTTP/1.1 103 Early Hints\r\n\r\n" + ill, "application: it answers GET /health with status 503"},
		"103 without end":  {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1<<14), "application: it does not answer GET /health by HTTP"},
		"101":              {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "application: it answers GET /health with status 101"},
		"404":              {"HTTP/1.1 404 Not Found\r\n\r\n", "application: it answers GET /health with status 404"},
		"503":              {ill, "application: it answers GET /health with status 503"},
		"no HTTP":          {"SSH-2.0-OpenSSH_9.6\r\n", "application: it does not answer GET /health by HTTP"},
		"no status":        {"HTTP/1.1 OK\r\n\r\n", "application: it does not answer GET /health by HTTP"},
		"long status":      {"HTTP/1.1 2000 OK\r\n\r\n", "application: it does not answer GET /health by HTTP"},
		"cut short":        {"HTTP/1.1 200", "application: it does not answer GET /health by HTTP"},
		"endless line":     {strings.Repeat("x", 1<<20), "application: it does not answer GET /health by HTTP"},
		"head without end": {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 1<<14), "application: it does not answer GET /health by HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(httpPort, "/health")
				s.set(c.answer, false)
				s.ask(t.Context())
				if got, known := s.state(); got != c.want || !known {
					t.Errorf("it lacks %q, known %v; want %q, true", got, known, c.want)
				}
				synctest.Wait()
				if want := "127.0.0.1:9080 GET /health HTTP/1.1"; s.asked != want {
					t.Errorf("it was asked %q, want %q", s.asked, want)
				}
			})
		})
	}
}

func TestWithoutAPathAConnectionIsEnough(t *testing.T) {
	for name, c := range map[string]struct {
		ports  Ports
		health string
		closed bool
		want   string
	}{
		"no path":             {httpPort, "", false, ""},
		"no path and no port": {nil, "", true, ""},
		"a path and no port":  {nil, "/health", true, ""},
		"nothing listens":     {httpPort, "", true, "application: it does not accept connections on its ports"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(c.ports, c.health)
			s.set("", c.closed)
			s.ask(t.Context())
			if got, known := s.state(); got != c.want || !known || s.asked != "" {
				t.Errorf("%s: it lacks %q, known %v, asked %q; want %q, true and nothing", name, got, known, s.asked, c.want)
			}
		})
	}
}

func TestHungApplicationIsIllSoonAndWellWhenItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(httpPort, "/health")
		s.set(well, false)
		s.run(t)
		s.is(t, "at first", "")
		s.set("", false)
		time.Sleep(probeUp + 2*probeTimeout + probeDown)
		s.is(t, "hung", errSilent.Error())
		time.Sleep(time.Minute)
		s.is(t, "hung for long", errSilent.Error())
		s.set(well, false)
		time.Sleep(probeIll + probeTimeout)
		s.is(t, "going on", "")
		if got := strings.Count(s.log.String(), "\n"); got != 3 {
			t.Errorf("logged %d lines, want 3: well, ill, well\n%s", got, s.log.String())
		}
	})
}

func TestOneLateAnswerIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(httpPort, "/health")
		s.set("", false)
		s.ask(t.Context())
		if got, known := s.state(); known {
			t.Errorf("after one question, not answered: known, %q", got)
		}
		for range 3 {
			s.set(well, false)
			s.ask(t.Context())
			s.is(t, "answered", "")
			s.set("", false)
			s.ask(t.Context())
			s.is(t, "one late", "")
		}
		s.ask(t.Context())
		s.is(t, "two late", errSilent.Error())
	})
}

// What it says itself, and that nothing listens, is no matter of a busy machine.
func TestWhatAnApplicationSaysCountsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(httpPort, "/health")
		s.set(well, false)
		s.ask(t.Context())
		s.set(ill, false)
		s.ask(t.Context())
		s.is(t, "ill", "application: it answers GET /health with status 503")
		s.set("", true)
		s.ask(t.Context())
		s.is(t, "gone", errClosed.Error())
	})
}

func (s *served) is(t *testing.T, when, want string) {
	t.Helper()
	synctest.Wait()
	if got, _ := s.state(); got != want {
		t.Errorf("%s: it lacks %q, want %q", when, got, want)
	}
}
