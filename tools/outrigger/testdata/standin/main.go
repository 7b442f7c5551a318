// Command standin plays the parts of a fleet in the supervisor's tests. Its first
// argument is the part.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

func main() {
	log.SetFlags(0)
	parts := map[string]func(args []string) error{
		"authority": authority, "service": service, "sidecar": sidecar, "proxy": proxy, "app": app, "broken": broken, "deaf": deaf,
		"forbid": forbid,
	}
	if filepath.Base(os.Args[0]) == "envoy" {
		fmt.Println("envoy  version: 0000000000000000000000000000000000000000/1.40.0/Clean/RELEASE/BoringSSL")
		return
	}
	if err := parts[os.Args[1]](os.Args[2:]); err != nil {
		log.Fatalf("standin %s: %v", os.Args[1], err)
	}
}

// authority mints tokens, numbered for each identity, at the socket that is named.
func authority(args []string) error {
	var mu sync.Mutex
	minted := map[string]int{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v1/bundle", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"bundlePem":"the bundle","trustDomain":"cluster.local"}`)
	})
	mux.HandleFunc("POST /v1/jointokens", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ ID, TTL string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.TTL != "300s" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		minted[in.ID]++
		fmt.Fprintf(w, `{"token":"token %d for %s"}`, minted[in.ID], in.ID)
	})
	listener, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	return http.Serve(listener, mux)
}

// service asks for a proof, then for another, and is ready at the address when it
// has both. GET / tells who it is.
func service(args []string) error {
	first, second, err := proofs()
	if err != nil {
		return err
	}
	who := strings.Join([]string{identity(), first, second}, "\n")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, who) })
	mux.HandleFunc("GET /fetch", fetch)
	return http.ListenAndServe(args[0], mux)
}

func proofs() (first, second string, err error) {
	fd, err := strconv.Atoi(os.Getenv("OUTRIGGER_JOIN_FD"))
	if err != nil {
		return "", "", err
	}
	conn := os.NewFile(uintptr(fd), "join")
	defer conn.Close()
	lines := bufio.NewReader(conn)
	if first, err = lines.ReadString('\n'); err != nil {
		return "", "", err
	}
	if _, err = io.WriteString(conn, "?\n"); err != nil {
		return "", "", err
	}
	second, err = lines.ReadString('\n')
	return strings.TrimSpace(first), strings.TrimSpace(second), err
}

// identity is what a process can find out about itself.
func identity() string {
	host, _ := os.Hostname()
	groups, _ := os.Getgroups()
	resolver, _ := os.ReadFile("/etc/resolv.conf")
	capabilities := ""
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(status)) {
			if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
				capabilities = strings.TrimSpace(text)
			}
		}
	}
	self, _ := os.Readlink("/proc/self")
	return fmt.Sprintf("own /proc=%v ", self == strconv.Itoa(os.Getpid())) + fmt.Sprintf("host=%s uid=%d gid=%d groups=%v capabilities=%s resolver=%q home=%q",
		host, os.Getuid(), os.Getgid(), groups, capabilities, resolver, os.Getenv("HOME"))
}

// sidecar starts a proxy that outlives it, unless one is there already, and
// answers at the admin port and in the sockets that it gets. It does not come up
// while its folder has a file "hold".
func sidecar(args []string) error {
	for fd := 3; fd < 5; fd++ { // the sockets are not the proxy's
		syscall.CloseOnExec(fd)
	}
	folder := args[0]
	pidFile := filepath.Join(folder, "proxy.pid")
	if !proxyRuns(pidFile) {
		command := exec.Command("/proc/self/exe", "proxy")
		command.Stdout, command.Stderr = os.Stdout, os.Stderr
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := command.Start(); err != nil {
			return err
		}
		if err := os.WriteFile(pidFile, []byte(strconv.Itoa(command.Process.Pid)), 0o600); err != nil {
			return err
		}
		go command.Wait()
	}
	if _, err := os.Stat(filepath.Join(folder, "hold")); err == nil {
		return fmt.Errorf("held back")
	}
	if err := answer(); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, args[1]) })
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, identity()) })
	return http.ListenAndServe(":15090", mux)
}

// answer says who answers, in the sockets that sd_listen_fds(3) speaks of.
func answer() error {
	if pid := os.Getenv("LISTEN_PID"); os.Getenv("LISTEN_FDS") != "2" || pid != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("%q sockets for %q, want 2 for %d", os.Getenv("LISTEN_FDS"), pid, os.Getpid())
	}
	udp, err := net.FilePacketConn(os.NewFile(3, "udp"))
	if err != nil {
		return err
	}
	tcp, err := net.FileListener(os.NewFile(4, "tcp"))
	if err != nil {
		return err
	}
	who := fmt.Sprintf("answered by %d", os.Getpid())
	go func() {
		for b := make([]byte, 64); ; {
			_, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			udp.WriteTo([]byte(who), from)
		}
	}()
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, who)
			conn.Close()
		}
	}()
	return nil
}

func proxyRuns(pidFile string) bool {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(string(text))
	return err == nil && syscall.Kill(pid, 0) == nil
}

// proxy tells at the inbound and at the outbound port which one it is, and goes
// on printing.
func proxy([]string) error {
	signal.Ignore(syscall.SIGPIPE)
	failures := make(chan error, 2)
	for port, says := range map[string]string{":15006": "inbound", ":15001": "outbound"} {
		listener, err := net.Listen("tcp", port)
		if err != nil {
			return err
		}
		go func() {
			failures <- http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if _, err := fmt.Println("proxied"); err != nil {
					http.Error(w, "my output is gone", http.StatusInternalServerError)
					return
				}
				fmt.Fprintf(w, "%s %d", says, os.Getpid())
			}))
		}()
	}
	return <-failures
}

// app serves at a port. GET /fetch calls another URL, GET /ask the name server of the
// host over a network.
func app(args []string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /fetch", fetch)
	mux.HandleFunc("GET /ask", ask)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, identity()) })
	return http.ListenAndServe(args[0], mux)
}

// ask waits for an answer of the name server for as long as it is not refused.
func ask(w http.ResponseWriter, r *http.Request) {
	conn, err := net.Dial(r.URL.Query().Get("network"), "127.0.0.1:53")
	if err != nil {
		io.WriteString(w, err.Error())
		return
	}
	defer conn.Close()
	io.WriteString(conn, "?")
	b := make([]byte, 64)
	n, err := conn.Read(b)
	if err != nil {
		io.WriteString(w, err.Error())
		return
	}
	w.Write(b[:n])
}

// fetch gets another URL.
func fetch(w http.ResponseWriter, r *http.Request) {
	response, err := http.Get(r.URL.Query().Get("url"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	io.Copy(w, response.Body)
}

// broken says why and gives up.
func broken([]string) error { return fmt.Errorf("cannot find my left shoe") }

// deaf does not end when asked.
func deaf([]string) error {
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGTERM)
	for range ignored {
	}
	return nil
}
