package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// File is a fleet file. Text in commands, arguments, environments, configuration
// and the welcome may use ${NAME}; see Variables for the names.
type File struct {
	TrustDomain string `yaml:"trustDomain"`
	// Namespace is where the services' accounts are.
	Namespace string `yaml:"namespace"`
	// Config is the folder of the services' configuration files, ${CONFIG};
	// relative to the folder of the fleet file.
	Config string `yaml:"config"`
	// Authority names the service that mints join tokens at its REST socket.
	Authority string  `yaml:"authority"`
	Network   Network `yaml:"network"`
	// Users gives each name a uid; used when the supervisor runs as root. For
	// applications it is where their uids begin; see AppUID.
	Users map[string]uint32 `yaml:"users"`
	// RunGroup is the group whose members may make sockets in the run folder.
	RunGroup uint32    `yaml:"runGroup"`
	Services []Service `yaml:"services"`
	Sidecar  *Sidecar  `yaml:"sidecar"`
	Hosts    []Host    `yaml:"hosts"`
	Publish  []Publish `yaml:"publish"`
	Reach    []Reach   `yaml:"reach"`
	Welcome  Welcome   `yaml:"welcome"`
	// UsesEnvoy says that ${ENVOY} occurs in the text.
	UsesEnvoy bool `yaml:"-"`
}

// Network is the picture inside the namespaces.
type Network struct {
	Hub       netip.Prefix          `yaml:"hub"`       // the hub's address and the whole network
	Workloads netip.Prefix          `yaml:"workloads"` // where hosts without an address get one
	Names     map[string]netip.Addr `yaml:"names"`     // entries of every hosts file
	Redirect  Redirect              `yaml:"redirect"`
	ProxyMark uint32                `yaml:"proxyMark"` // tells the proxy's traffic where only one uid exists
}

// Redirect is what goes through a sidecar.
type Redirect struct {
	Inbound         uint16         `yaml:"inbound"`
	Outbound        uint16         `yaml:"outbound"`
	ExcludeInbound  []Ports        `yaml:"excludeInbound"`
	ExcludeOutbound []netip.Prefix `yaml:"excludeOutbound"`
}

// Command is a program and how it is called. A Program without a slash is one
// in the folder of binaries.
type Command struct {
	Program string            `yaml:"command"`
	Args    []string          `yaml:"args"`
	Env     map[string]string `yaml:"env"`
}

// Service is a process in the hub.
type Service struct {
	Name    string `yaml:"name"`
	Command `yaml:",inline"`
	Account string `yaml:"account"` // of its SPIFFE ID; empty: gets no join token
	User    string `yaml:"user"`
	Ready   Ready  `yaml:"ready"`
	// After names the services that must be ready before this one starts.
	After []string `yaml:"after"`
	// Manual leaves the service down until it is started by request.
	Manual bool `yaml:"manual"`
}

// Sidecar is what runs beside the application on every host that has one.
type Sidecar struct {
	Command `yaml:",inline"`
	User    string `yaml:"user"`
	Ready   Ready  `yaml:"ready"`
	// Listen are sockets that the supervisor opens for it on its host, and keeps open
	// until it is not wanted any more: what comes while it is away waits for the next.
	Listen []Socket `yaml:"listen"`
	// Config, if not empty, is written to ${HOST_CONFIG} before the start.
	Config string `yaml:"config"`
}

// Socket is one to listen on. A process finds those that it gets as sd_listen_fds(3)
// of systemd says, in the order of the file.
type Socket struct {
	Network string         `yaml:"network" json:"network"` // "tcp" or "udp"
	Address netip.AddrPort `yaml:"address" json:"address"`
}

// Host is a workload with a network of its own.
type Host struct {
	Name      string            `yaml:"name"`
	Namespace string            `yaml:"namespace"`
	Service   string            `yaml:"service"`
	Version   string            `yaml:"version"`
	Labels    map[string]string `yaml:"labels"`
	Account   string            `yaml:"account"`
	Address   netip.Addr        `yaml:"address"`
	Ports     []Port            `yaml:"ports"`
	Sidecar   bool              `yaml:"sidecar"`
	App       *App              `yaml:"app"`
	After     []string          `yaml:"after"`
	Manual    bool              `yaml:"manual"`
}

// App is the application on a host.
type App struct {
	Command `yaml:",inline"`
	User    string `yaml:"user"`
	Ready   Ready  `yaml:"ready"`
}

// Port is one that a workload serves.
type Port struct {
	Name     string `yaml:"name"`
	Number   uint16 `yaml:"port"`
	Protocol string `yaml:"protocol"`
}

// Ready says how to see that a process is ready; at most one of Socket, URL and
// TCP is set. None: a process is ready when it runs.
type Ready struct {
	Socket string `yaml:"socket"` // HTTP on this socket of the run folder, at Path
	Path   string `yaml:"path"`
	URL    string `yaml:"url"` // HTTP in the process's own network
	TCP    string `yaml:"tcp"` // a connection can be opened there, in the process's own network
}

// Publish brings a port of the hub out to the loopback of the machine. Port 0
// takes any free one.
type Publish struct {
	Name string         `yaml:"name"`
	Port uint16         `yaml:"port"`
	To   netip.AddrPort `yaml:"to"`
}

// Reach brings a Unix socket of the run folder into the hub.
type Reach struct {
	Listen netip.AddrPort `yaml:"listen"`
	Socket string         `yaml:"socket"`
}

// Welcome is what is said when the fleet is ready.
type Welcome struct {
	URL string   `yaml:"url"`
	Try []string `yaml:"try"`
	// Notes are what whoever runs the fleet should know.
	Notes []string `yaml:"notes"`
}

// AppUID is the uid of the application on Hosts[i]: that of its user plus i, so that
// no application can inspect or signal another one. It stays the same until hosts
// before it come or go.
func (f File) AppUID(i int) uint32 {
	return f.Users[f.Hosts[i].App.User] + uint32(i) //nolint:gosec // a file is too small for so many
}

// maxFile bounds the size of a fleet file, in bytes.
const maxFile = 1 << 20

// Load reads and checks a fleet file.
func Load(path string) (File, error) {
	file, err := os.Open(path)
	if err != nil {
		return File{}, fmt.Errorf("fleet file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return File{}, fmt.Errorf("fleet file %s: %w", path, err)
	}
	if len(text) > maxFile {
		return File{}, fmt.Errorf("fleet file %s: larger than %d bytes", path, maxFile)
	}
	parsed, err := Parse(text)
	if err != nil {
		return File{}, fmt.Errorf("fleet file %s: %w", path, err)
	}
	if !filepath.IsAbs(parsed.Config) {
		parsed.Config = filepath.Join(filepath.Dir(path), parsed.Config)
	}
	return parsed, nil
}

// Parse decodes the text of a fleet file, refusing unknown keys, fills in
// defaults and reports all mistakes together.
func Parse(text []byte) (File, error) {
	f := defaultFile()
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil {
		if errors.Is(err, io.EOF) {
			return File{}, errors.New("is empty")
		}
		return File{}, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return File{}, errors.New("holds more than one document")
	}
	f.UsesEnvoy = bytes.Contains(text, []byte("${ENVOY}"))
	return f, f.check()
}

func defaultFile() File {
	return File{
		TrustDomain: "cluster.local",
		Namespace:   "outrigger-system",
		Config:      "../config",
		RunGroup:    1340,
		Network: Network{
			Hub:       netip.MustParsePrefix("10.77.0.1/16"),
			Workloads: netip.MustParsePrefix("10.77.1.0/24"),
			ProxyMark: 0x539,
			Redirect:  Redirect{Inbound: 15006, Outbound: 15001},
		},
	}
}
