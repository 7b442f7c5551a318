package agent_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agent "github.com/outrigger-mesh/outrigger/services/sidecar-agent"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsGoBeforeTheFile(t *testing.T) {
	path := file(t, `{
		"name": "reviews-v1", "address": "10.77.1.3", "state": "/s", "labels": "app=reviews,version=v1",
		"ports": "http:9080:http,grpc:9090", "mark": 1337, "mixer": "", "drain": "7s", "logLevel": "debug",
		"health": "/health?deep=1&of=a%20b"
	}`)
	c, err := agent.Load([]string{"-config", path, "-drain=3s", "--namespace", "prod"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "reviews-v1" || c.Namespace != "prod" || c.Drain != 3*time.Second || c.Mark != 1337 || c.Health != "/health?deep=1&of=a%20b" || c.Mixer.IsValid() ||
		fmt.Sprint(c.Ports) != "[{http 9080} {grpc 9090}]" || fmt.Sprint(map[string]string(c.Labels)) != "map[app:reviews version:v1]" {
		t.Errorf("got %+v", c)
	}
	if d := agent.DefaultConfig(); c.Pilot != d.Pilot || c.DNS != d.DNS {
		t.Errorf("what was not said: pilot %s, dns %s, want the defaults", c.Pilot, c.DNS)
	}
}

func TestMistakesAreToldTogetherWithTheirLines(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"many": {"{\n\"nmae\": \"x\",\n\"ports\": \"http\",\n\"drain\": \"long\",\n\"address\": \"here\"\n}", []string{
			`agent.json:2: unknown key "nmae"`, "agent.json:3: ports:", "agent.json:4: drain:", "agent.json:5: address:",
			"name: it is needed", "state: want an absolute path",
		}},
		"twice":        {"{\"name\": \"x\",\n\"name\": \"y\"}", []string{`:2: key "name" a second time`}},
		"a list":       {`{"labels": ["a"]}`, []string{":1: labels: want a text, a number or a bool"}},
		"no object":    {`[]`, []string{":1: want a JSON object"}},
		"cut short":    {`{"name": "x"`, []string{":1: "}},
		"more behind":  {"{}\n{}", []string{":2: something behind the object"}},
		"other config": {`{"config": "x"}`, []string{`unknown key "config"`}},
		"not loopback": {`{"status": "0.0.0.0:15090", "dns": "10.0.0.1:53"}`, []string{"status: 0.0.0.0:15090 is not on loopback", "dns: 10.0.0.1:53 is not"}},
		"blank":        {`{"health": "/a b"}`, []string{`health: want a path such as /health, got "/a b"`}},
		"no path":      {`{"health": "health"}`, []string{"health: want a path"}},
		"a URL":        {`{"health": "http://x/health"}`, []string{"health: want a path"}},
		"two lines":    {`{"health": "/a?b\r\nX: y"}`, []string{"health: want a path"}},
		"a fragment":   {`{"health": "/a?b#c"}`, []string{"health: want a path"}},
		"bad escape":   {`{"health": "/a%2"}`, []string{"health: want a path"}},
		"not ASCII":    {`{"health": "/ä"}`, []string{"health: want a path"}},
		"no such name": {`{"account": "a/b", "trustDomain": "X"}`, []string{"identity: "}},
	} {
		_, err := agent.Load([]string{"-config", file(t, c.text)}, nil)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q lacks %q", name, err, want)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if _, err := agent.Load([]string{"--help"}, &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "-pilotAPI") {
		t.Errorf("error %v, text %q", err, out.String())
	}
}
