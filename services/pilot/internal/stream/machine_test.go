package stream_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/stream"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

var update = flag.Bool("update", false, "rewrite what is sent in the transcripts")

// Each transcript in testdata is a story: a line is what happens, the indented lines
// below it are what the proxy is sent then.
//
//	gateway                             the proxy is one that is told what it has; what it
//	                                    is sent then shows the revision
//	delta                               the proxy speaks delta
//	want REVISION TYPE/NAME=VERSION …   what the proxy is to have; VERSION*2 is of 2 MiB
//	ask TYPE [NAME …|*]                 a first request or a subscription
//	drop TYPE NAME …                    an unsubscription
//	have TYPE NAME=VERSION …            a first request after a reconnect
//	ack TYPE, nack TYPE WORDS           the answer to the response under way
//	wait DURATION                       time goes by
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { play(t, file) })
	}
}

type player struct {
	machine *stream.Machine
	gateway bool
	now     time.Time
	nonces  map[translate.Type]string
}

func play(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := &player{machine: stream.New(stream.Config{}), now: time.Unix(1000, 0), nonces: map[translate.Type]string{}}
	var want, got strings.Builder
	for in := bufio.NewScanner(f); in.Scan(); {
		line := in.Text()
		fmt.Fprintln(&want, line)
		if strings.HasPrefix(line, "  ") {
			continue
		}
		fmt.Fprintln(&got, line)
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p.do(t, strings.Fields(line))
		p.next(&got)
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(want.String(), got.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

var kinds = map[string]translate.Type{"c": translate.Cluster, "e": translate.Endpoint, "l": translate.Listener, "r": translate.Route}

func (p *player) do(t *testing.T, f []string) {
	t.Helper()
	switch f[0] {
	case "gateway":
		p.machine, p.gateway = stream.New(stream.Config{Announce: true}), true
		return
	case "delta":
		p.machine = stream.New(stream.Config{Delta: true})
		return
	case "want":
		p.want(f[1], f[2:])
		return
	case "wait":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			t.Fatal(err)
		}
		p.now = p.now.Add(d)
		return
	}
	ty, ok := kinds[f[1]]
	if !ok {
		t.Fatalf("%v: no such type", f)
	}
	r := stream.Request{Type: ty}
	switch f[0] {
	case "ask":
		for _, n := range f[2:] {
			if n == "*" {
				r.Wildcard = true
				continue
			}
			r.Subscribe = append(r.Subscribe, n)
		}
	case "drop":
		r.Unsubscribe = f[2:]
	case "have":
		r.Wildcard = ty == translate.Cluster || ty == translate.Listener
		r.Versions = map[string]string{}
		for _, n := range f[2:] {
			name, v, _ := strings.Cut(n, "=")
			r.Versions[name] = v
			if !r.Wildcard {
				r.Subscribe = append(r.Subscribe, name)
			}
		}
	case "ack":
		r.Nonce = p.nonces[ty]
	case "nack":
		r.Nonce, r.Refusal = p.nonces[ty], strings.Join(f[2:], " ")
	default:
		t.Fatalf("%v: no such event", f)
	}
	if err := p.machine.Handle(r); err != nil {
		t.Fatalf("%v: %v", f, err)
	}
}

func (p *player) want(revision string, resources []string) {
	var w translate.Wants
	for ty := range w {
		w[ty] = map[string]*translate.Resource{}
	}
	for _, r := range resources {
		kind, rest, _ := strings.Cut(r, "/")
		name, version, _ := strings.Cut(rest, "=")
		version, size, _ := strings.Cut(version, "*")
		mib, _ := strconv.Atoi(size) //nolint:errcheck // no size is 0
		w[kinds[kind]][name] = &translate.Resource{Name: name, Version: version, Body: &anypb.Any{Value: make([]byte, mib<<20)}}
	}
	var n uint64
	fmt.Sscan(revision, &n) //nolint:errcheck // a bad number shows as 0
	p.machine.Want(&w, n)
}

func (p *player) next(b *strings.Builder) {
	before := p.machine.Acknowledged()
	responses, wake := p.machine.Next(p.now)
	for _, r := range responses {
		p.nonces[r.Type] = r.Nonce
		fmt.Fprintf(b, "  %s", [...]string{"c", "e", "l", "r"}[r.Type])
		if p.gateway {
			fmt.Fprintf(b, " @%d", r.Revision)
		}
		for _, res := range r.Upserts {
			fmt.Fprintf(b, " %s=%s", res.Name, res.Version)
		}
		for _, name := range r.Removed {
			fmt.Fprintf(b, " -%s", name)
		}
		fmt.Fprintln(b)
	}
	if now := p.machine.Acknowledged(); now != before {
		fmt.Fprintf(b, "  in force: %d\n", now)
	}
	for _, r := range p.machine.Refusals() {
		fmt.Fprintf(b, "  refused: %v %s\n", r.Names, r.Message)
	}
	if !wake.IsZero() {
		fmt.Fprintf(b, "  again in %s\n", wake.Sub(p.now))
	}
}
