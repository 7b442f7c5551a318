package fleet

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Settings are what one run adds to a fleet file. Paths are absolute.
type Settings struct {
	State  string
	Bin    string
	Envoy  string // empty where no Envoy was named
	Config string // empty: the fleet file's own
	Root   bool   // processes have the uids of the fleet file
}

// Kind is what a process is in the fleet.
type Kind string

// The kinds.
const (
	KindService Kind = "service"
	KindSidecar Kind = "sidecar"
	KindApp     Kind = "app"
)

// Plan is a fleet in which nothing is left to decide. It goes as JSON from the
// process that was started to the one that supervises.
type Plan struct {
	State       string        `json:"state"`
	Root        bool          `json:"root"`
	TrustDomain string        `json:"trustDomain"`
	Authority   *Authority    `json:"authority,omitempty"`
	RunGroup    uint32        `json:"runGroup"`
	Network     Network       `json:"network"`
	ProxyUID    uint32        `json:"proxyUID"`
	Hosts       []PlannedHost `json:"hosts"`
	Processes   []Process     `json:"processes"`
	Publish     []Publish     `json:"publish"`
	Reach       []Reach       `json:"reach"`
	Folders     []Folder      `json:"folders"`
	Inside      []string      `json:"inside"` // folders that the processes must be able to reach
	variables   Variables     // of the whole fleet
	uids        map[string]uint32
}

// Authority is where join tokens come from.
type Authority struct {
	Service string `json:"service"`
	Socket  string `json:"socket"` // path
	UID     uint32 `json:"uid"`    // that must be at the other end
}

// PlannedHost is a host with its address.
type PlannedHost struct {
	Name      string     `json:"name"`
	Namespace string     `json:"namespace"`
	Service   string     `json:"service,omitempty"`
	Version   string     `json:"version,omitempty"`
	Account   string     `json:"account"`
	Address   netip.Addr `json:"address"`
	Sidecar   bool       `json:"sidecar"`
}

// Process is one program to keep running.
type Process struct {
	Name   string   `json:"name"`
	Kind   Kind     `json:"kind"`
	Host   string   `json:"host,omitempty"` // empty: in the hub
	Path   string   `json:"path"`
	Args   []string `json:"args"`
	Env    []string `json:"env"`
	Dir    string   `json:"dir"`
	UID    uint32   `json:"uid"`
	Groups []uint32 `json:"groups,omitempty"`
	ID     string   `json:"id,omitempty"` // SPIFFE ID to hand join tokens for
	After  []string `json:"after,omitempty"`
	Ready  Ready    `json:"ready"`
	Listen []Socket `json:"listen,omitempty"`
	Manual bool     `json:"manual,omitempty"`
	Config string   `json:"config,omitempty"` // path of a file to write before the start
	Text   string   `json:"text,omitempty"`   // its content
	Log    string   `json:"log"`
}

// Folder is one to make, closed to everybody but its owner.
type Folder struct {
	Path string `json:"path"`
	UID  uint32 `json:"uid"`
}

// Names of what is inside a state folder.
const (
	RunFolder = "run"
	LogFolder = "log"
	// SettingsFolder has a folder for each host, and one for the hub, with the
	// files that the supervisor writes for the processes there.
	SettingsFolder = "settings"
	hostFolder     = "hosts"
)

// searchPath is the PATH of every process.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// NewPlan decides everything that a fleet file leaves open and reports all
// mistakes together.
func NewPlan(f File, s Settings) (Plan, error) {
	if s.Config == "" {
		s.Config = f.Config
	}
	p := Plan{
		State: s.State, Root: s.Root, TrustDomain: f.TrustDomain, RunGroup: f.RunGroup,
		Network: f.Network, Publish: f.Publish, Reach: f.Reach, uids: f.Users,
	}
	if f.Sidecar != nil {
		p.ProxyUID = p.uid(f.Sidecar.User)
	}
	p.variables = p.common(f, s)
	var mistakes []error
	for _, service := range f.Services {
		mistakes = append(mistakes, p.addService(f, service, s))
	}
	addresses, err := allocate(f)
	mistakes = append(mistakes, err)
	for i := range f.Hosts {
		mistakes = append(mistakes, p.addHost(f, i, addresses[i], s))
	}
	if f.Authority != "" {
		p.Authority = p.authority(f)
	}
	p.Inside = inside(s, p.Processes)
	if _, err := Levels(p.Processes); err != nil {
		mistakes = append(mistakes, err)
	}
	return p, errors.Join(mistakes...)
}

// uid is the one a user's processes get; everybody is 0 in a user namespace
// that has only one.
func (p *Plan) uid(user string) uint32 {
	if !p.Root {
		return 0
	}
	return p.uids[user]
}

func (p *Plan) common(f File, s Settings) Variables {
	mark := f.Network.ProxyMark
	if s.Root {
		mark = 0
	}
	return Variables{
		"STATE": s.State, "RUN": filepath.Join(s.State, RunFolder), "BIN": s.Bin, "ENVOY": s.Envoy,
		"CONFIG": s.Config, "HUB": f.Network.Hub.Addr().String(), "TRUST_DOMAIN": f.TrustDomain,
		"PROXY_UID": number(p.ProxyUID), "PROXY_MARK": number(mark), "ADMIN_UID": "0",
	}
}

func (p *Plan) authority(f File) *Authority {
	a := &Authority{Service: f.Authority, Socket: filepath.Join(p.State, RunFolder, f.Authority+".rest.sock")}
	for _, s := range f.Services {
		if s.Name == f.Authority {
			a.UID = p.uid(s.User)
		}
	}
	return a
}

// SPIFFEID is the identity of an account.
func SPIFFEID(trustDomain, namespace, account string) string {
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + account
}

func (p *Plan) addService(f File, service Service, s Settings) error {
	folder := filepath.Join(s.State, service.Name)
	process := Process{
		Name: service.Name, Kind: KindService, Dir: folder, UID: p.uid(service.User),
		After: service.After, Manual: service.Manual,
	}
	if p.Root {
		process.Groups = []uint32{f.RunGroup}
	}
	if service.Account != "" && f.Authority != "" {
		process.ID = SPIFFEID(f.TrustDomain, f.Namespace, service.Account)
	}
	v := p.variables.with(Variables{"NAME": service.Name, "ID": process.ID, "SERVICE_STATE": folder})
	p.Folders = append(p.Folders, Folder{Path: folder, UID: process.UID})
	return p.add(process, service.Command, service.Ready, v, s)
}

func (p *Plan) addHost(f File, i int, address netip.Addr, s Settings) error {
	host := f.Hosts[i]
	planned := PlannedHost{
		Name: host.Name, Namespace: host.Namespace, Service: host.Service, Version: host.Version,
		Account: host.Account, Address: address, Sidecar: host.Sidecar,
	}
	p.Hosts = append(p.Hosts, planned)
	folder := filepath.Join(s.State, hostFolder, host.Name)
	config := filepath.Join(s.State, SettingsFolder, host.Name, "agent.yaml")
	id := SPIFFEID(f.TrustDomain, host.Namespace, host.Account)
	v := p.variables.with(Variables{
		"HOST_NAME": host.Name, "HOST_NS": host.Namespace, "HOST_IP": address.String(),
		"HOST_SERVICE": host.Service, "HOST_VERSION": host.Version, "HOST_LABELS": labels(host),
		"HOST_ACCOUNT": host.Account, "HOST_ID": id, "HOST_PORTS": portList(host.Ports),
		"HOST_STATE": folder, "HOST_CONFIG": config,
	})
	var mistakes []error
	if host.Sidecar {
		process := Process{
			Name: host.Name + ".sidecar", Kind: KindSidecar, Host: host.Name, Dir: folder,
			UID: p.uid(f.Sidecar.User), After: host.After, Manual: host.Manual,
			Listen: f.Sidecar.Listen,
		}
		if f.Authority != "" {
			process.ID = id
		}
		text, err := v.expand(f.Sidecar.Config)
		mistakes = append(mistakes, err)
		if text != "" {
			process.Config, process.Text = config, text
		}
		p.Folders = append(p.Folders, Folder{Path: folder, UID: process.UID})
		mistakes = append(mistakes, p.add(process, f.Sidecar.Command, f.Sidecar.Ready, v, s))
	}
	if host.App != nil {
		process := Process{
			Name: host.Name + ".app", Kind: KindApp, Host: host.Name, Dir: "/",
			After: host.After, Manual: host.Manual,
		}
		if p.Root {
			process.UID = f.AppUID(i)
		}
		mistakes = append(mistakes, p.add(process, host.App.Command, host.App.Ready, v, s))
	}
	return errors.Join(mistakes...)
}

// add completes a process with what its command says.
func (p *Plan) add(process Process, command Command, ready Ready, v Variables, s Settings) error {
	where := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", process.Name, err)
	}
	program, err1 := v.expand(command.Program)
	args, err2 := v.expandAll(command.Args)
	env, err3 := v.environment(command.Env)
	url, err4 := v.expand(ready.URL)
	tcp, err5 := v.expand(ready.TCP)
	if !strings.Contains(program, "/") {
		program = filepath.Join(s.Bin, program)
	}
	process.Path, process.Args = program, args
	process.Env = append([]string{searchPath}, env...)
	ready.URL, ready.TCP = url, tcp
	process.Ready = ready
	err6 := ready.literal()
	process.Log = filepath.Join(s.State, LogFolder, process.Name+".log")
	p.Processes = append(p.Processes, process)
	return errors.Join(where(err1), where(err2), where(err3), where(err4), where(err5), where(err6))
}

// allocate gives each host its address: the one it asks for, or the next free
// one, in the order of the file.
func allocate(f File) ([]netip.Addr, error) {
	taken := map[netip.Addr]string{f.Network.Hub.Addr(): "the hub"}
	addresses := make([]netip.Addr, len(f.Hosts))
	var mistakes []error
	for i, host := range f.Hosts {
		if !host.Address.IsValid() {
			continue
		}
		if owner, is := taken[host.Address]; is {
			mistakes = append(mistakes, fmt.Errorf("host %q: address %v is taken by %s", host.Name, host.Address, owner))
		}
		if !f.Network.Hub.Contains(host.Address) {
			mistakes = append(mistakes, fmt.Errorf("host %q: address %v is outside %v", host.Name, host.Address, f.Network.Hub.Masked()))
		}
		taken[host.Address], addresses[i] = host.Name, host.Address
	}
	next := f.Network.Workloads.Masked().Addr().Next()
	for i, host := range f.Hosts {
		if host.Address.IsValid() {
			continue
		}
		for taken[next] != "" {
			next = next.Next()
		}
		if !f.Network.Workloads.Contains(next) {
			mistakes = append(mistakes, fmt.Errorf("host %q: no address is left in %v", host.Name, f.Network.Workloads))
			break
		}
		taken[next], addresses[i] = host.Name, next
	}
	return addresses, errors.Join(mistakes...)
}

// inside lists the folders that processes must be able to reach.
func inside(s Settings, processes []Process) []string {
	folders := map[string]bool{s.State: true, s.Bin: true, s.Config: true}
	if s.Envoy != "" {
		folders[filepath.Dir(s.Envoy)] = true
	}
	for _, process := range processes {
		folders[filepath.Dir(process.Path)] = true
	}
	return slices.Sorted(maps.Keys(folders))
}

func labels(h Host) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(h.Labels)) {
		pairs = append(pairs, key+"="+h.Labels[key])
	}
	return strings.Join(pairs, ",")
}

func portList(ports []Port) string {
	var texts []string
	for _, p := range ports {
		texts = append(texts, p.Name+":"+number(uint32(p.Number))+":"+p.Protocol)
	}
	return strings.Join(texts, ",")
}

func number(v uint32) string { return strconv.FormatUint(uint64(v), 10) }

// Greeting expands the welcome with the addresses that the published ports got.
func Greeting(w Welcome, p Plan, published map[string]string) (Welcome, error) {
	addresses := Variables{}
	for name, address := range published {
		addresses["ADDRESS_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = address
	}
	v := p.variables.with(addresses)
	url, err := v.expand(w.URL)
	if err != nil {
		return Welcome{}, fmt.Errorf("welcome: %w", err)
	}
	try, err := v.expandAll(w.Try)
	if err != nil {
		return Welcome{}, fmt.Errorf("welcome: %w", err)
	}
	notes, err := v.expandAll(w.Notes)
	if err != nil {
		return Welcome{}, fmt.Errorf("welcome: %w", err)
	}
	return Welcome{URL: url, Try: try, Notes: notes}, nil
}
