package fleet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

var settings = fleet.Settings{State: "/s", Bin: "/b", Envoy: "/e/envoy", Config: "/c", Root: true}

const sample = `
authority: ca
users: {ca: 1342, proxy: 1337, app: 1400}
services:
- {name: ca, command: ca, user: ca}
- {name: gate, command: /opt/gate, args: ["${ENVOY}", "${SERVICE_STATE}", "$5"], env: {Z: "${HUB}", A: "${ID}"}, user: ca, account: gateway, after: [ca]}
sidecar: {command: agent, args: ["${HOST_IP}", "${PROXY_UID}/${PROXY_MARK}"], user: proxy, config: "${HOST_PORTS} ${HOST_LABELS}"}
hosts:
- {name: one, namespace: shop, account: shop, sidecar: true, labels: {b: "2", a: "1"}, ports: [{name: http, port: 80, protocol: http}, {name: db, port: 9, protocol: tcp}]}
- {name: two, namespace: shop, account: shop, address: 10.77.1.1, app: {command: app, user: app}}
- {name: three, namespace: shop, account: shop, app: {command: app, user: app, ready: {tcp: "127.0.0.1:80"}}}
`

func plan(t *testing.T, text string, s fleet.Settings) (fleet.Plan, error) {
	t.Helper()
	file, err := fleet.Parse([]byte(text))
	if err != nil {
		return fleet.Plan{}, err
	}
	return fleet.NewPlan(file, s)
}

func TestPlanDecidesEverything(t *testing.T) {
	p, err := plan(t, sample, settings)
	if err != nil {
		t.Fatal(err)
	}
	path := "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	want := []fleet.Process{
		{Name: "ca", Kind: fleet.KindService, Path: "/b/ca", Args: []string{}, Env: []string{path}, Dir: "/s/ca", UID: 1342, Groups: []uint32{1340}, Log: "/s/log/ca.log"},
		{
			Name: "gate", Kind: fleet.KindService, Path: "/opt/gate", Args: []string{"/e/envoy", "/s/gate", "$5"},
			Env: []string{path, "A=spiffe://cluster.local/ns/outrigger-system/sa/gateway", "Z=10.77.0.1"}, Dir: "/s/gate", UID: 1342,
			Groups: []uint32{1340}, ID: "spiffe://cluster.local/ns/outrigger-system/sa/gateway", After: []string{"ca"}, Log: "/s/log/gate.log",
		},
		{
			Name: "one.sidecar", Kind: fleet.KindSidecar, Host: "one", Path: "/b/agent", Args: []string{"10.77.1.2", "1337/0"}, Env: []string{path},
			Dir: "/s/hosts/one", UID: 1337, ID: "spiffe://cluster.local/ns/shop/sa/shop",
			Config: "/s/settings/one/agent.yaml", Text: "http:80:http,db:9:tcp a=1,b=2", Log: "/s/log/one.sidecar.log",
		},
		{Name: "two.app", Kind: fleet.KindApp, Host: "two", Path: "/b/app", Args: []string{}, Env: []string{path}, Dir: "/", UID: 1401, Log: "/s/log/two.app.log"},
		{
			Name: "three.app", Kind: fleet.KindApp, Host: "three", Path: "/b/app", Args: []string{}, Env: []string{path}, Dir: "/", UID: 1402,
			Ready: fleet.Ready{TCP: "127.0.0.1:80"}, Log: "/s/log/three.app.log",
		},
	}
	if diff := cmp.Diff(want, p.Processes); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&fleet.Authority{Service: "ca", Socket: "/s/run/ca.rest.sock", UID: 1342}, p.Authority); diff != "" {
		t.Errorf("authority (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/b", "/c", "/e", "/opt", "/s"}, p.Inside); diff != "" {
		t.Errorf("folders that must be reachable (-want +got):\n%s", diff)
	}
	if got := p.Hosts[2].Address.String(); got != "10.77.1.3" {
		t.Errorf("host three has address %s, want the next free one 10.77.1.3", got)
	}
}

func TestPlanForAnOrdinaryUserHasOneUIDAndAMark(t *testing.T) {
	ordinary := settings
	ordinary.Root = false
	p, err := plan(t, sample, ordinary)
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range p.Processes {
		if process.UID != 0 || process.Groups != nil {
			t.Errorf("%s has uid %d and groups %v, want neither", process.Name, process.UID, process.Groups)
		}
	}
	if got := p.Processes[2].Args[1]; got != "0/1337" {
		t.Errorf("uid and mark of the proxy are %s, want 0/1337", got)
	}
}

func TestMistakes(t *testing.T) {
	cases := map[string]struct {
		old, new string // in the sample
		want     string
	}{
		"unknown key":                {"authority: ca", "authorty: ca", "line 2: field authorty not found"},
		"unknown variable":           {`"$5"`, `"${FIVE}"`, `gate: ${FIVE}: unknown variable`},
		"unfinished variable":        {`"$5"`, `"${STATE"`, "${STATE: unknown variable"},
		"host variable in a service": {`"$5"`, `"${HOST_IP}"`, `${HOST_IP}: unknown variable`},
		"unknown user":               {"user: app}}\n- {name: three", "user: nobody}}\n- {name: three", `hosts[1] "two": app: user "nobody" is not in users`},
		"uid of root":                {"app: 1400", "app: 0", "users: app: uid 0 is root"},
		"uid of the run group":       {"app: 1400", "app: 1339", `hosts[1] "two": app: uid 1340, which is that of user "app" plus 1, is that of the run group`},
		"uid of a service":           {"app: 1400", "app: 1341", `hosts[1] "two": app: uid 1342, which is that of user "app" plus 1, is that of service "gate"`},
		"uid of the sidecars":        {"app: 1400", "app: 1336", `uid 1337, which is that of user "app" plus 1, is that of the sidecars`},
		"uids without room":          {"app: 1400", "app: 4294967294", "users: app: 4294967294 leaves no room"},
		"two of one name":            {"name: three", "name: ca", `hosts[2] "ca": the name is taken by services[0] "ca"`},
		"name with a slash":          {"name: three", "name: ../x", `"../x" is not a name`},
		"unknown dependency":         {"after: [ca]", "after: [nothing]", `after: there is no service "nothing"`},
		"circle":                     {"command: ca, user: ca}", "command: ca, user: ca, after: [gate]}", "these wait for each other: ca, gate"},
		"unknown authority":          {"authority: ca", "authority: other", `authority: there is no service "other"`},
		"address outside":            {"address: 10.77.1.1", "address: 10.99.1.1", "address 10.99.1.1 is outside 10.77.0.0/16"},
		"address of the hub":         {"address: 10.77.1.1", "address: 10.77.0.1", "address 10.77.0.1 is taken by the hub"},
		"name to probe":              {"127.0.0.1:80", "localhost:80", `"localhost:80" is not an address with a port`},
		"nothing on a host":          {", app: {command: app, user: app, ready: {tcp: \"127.0.0.1:80\"}}", "", "has neither app nor sidecar"},
		"two kinds of probe":         {"tcp: \"127.0.0.1:80\"", "tcp: \"127.0.0.1:80\", url: \"http://127.0.0.1/\"", "exclude each other"},
		"second document":            {"\nhosts:", "\n---\nhosts:", "more than one document"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(sample, c.old) {
				t.Fatalf("the sample has no %q", c.old)
			}
			_, err := plan(t, strings.Replace(sample, c.old, c.new, 1), settings)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one that says %q", err, c.want)
			}
		})
	}
	t.Run("empty", func(t *testing.T) {
		if _, err := fleet.Parse(nil); err == nil {
			t.Error("no error")
		}
	})
}

func TestNoTwoApplicationsHaveOneUID(t *testing.T) {
	two := strings.NewReplacer("app: 1400}", "app: 1400, last: 1399}", "{command: app, user: app, ready", "{command: app, user: last, ready").Replace(sample)
	_, err := plan(t, two, settings)
	if want := `hosts[2] "three": app: uid 1401, which is that of user "last" plus 2, is that of host "two"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v, want one that says %q", err, want)
	}
}

func TestAllMistakesAreReportedTogether(t *testing.T) {
	broken := strings.NewReplacer("authority: ca", "authority: x", "after: [ca]", "after: [y]").Replace(sample)
	_, err := plan(t, broken, settings)
	if err == nil || !strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), `"y"`) {
		t.Errorf("error is %v, want both mistakes", err)
	}
}

func TestLoadTakesPathsFromTheFleetFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "fleet.yaml")
	if err := os.WriteFile(path, []byte("config: ../conf\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := fleet.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(filepath.Dir(folder), "conf"); file.Config != want {
		t.Errorf("config is %s, want %s", file.Config, want)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("#", 1<<20+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.Load(path); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("error for a file that is too large is %v", err)
	}
}

func TestStopOrderIsWorkloadsThenServicesBackwards(t *testing.T) {
	p, err := plan(t, sample, settings)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := fleet.StopOrder(p.Processes)
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for _, step := range steps {
		var names []string
		for _, process := range step {
			names = append(names, process.Name)
		}
		got = append(got, names)
	}
	want := [][]string{{"one.sidecar", "two.app", "three.app"}, {"gate"}, {"ca"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestGreetingNamesPublishedAddresses(t *testing.T) {
	p, err := plan(t, sample, settings)
	if err != nil {
		t.Fatal(err)
	}
	welcome := fleet.Welcome{URL: "http://${ADDRESS_MY_GATE}/", Try: []string{"ls ${STATE}"}, Notes: []string{"in ${STATE}"}}
	got, err := fleet.Greeting(welcome, p, map[string]string{"my-gate": "127.0.0.1:9"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fleet.Welcome{URL: "http://127.0.0.1:9/", Try: []string{"ls /s"}, Notes: []string{"in /s"}}, got); diff != "" {
		t.Errorf("welcome (-want +got):\n%s", diff)
	}
	if _, err := fleet.Greeting(welcome, p, nil); err == nil {
		t.Error("a name that is not published: no error")
	}
}
