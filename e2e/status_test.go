package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// status is as much of pilot's status as tests look at.
type status struct {
	Bus struct {
		Connected bool   `json:"connected"`
		Refused   string `json:"refused"`
	} `json:"bus"`
	Revision string        `json:"revision"`
	Proxies  []proxyStatus `json:"proxies"`
	Files    []struct {
		File    string `json:"file"`
		Message string `json:"message"`
	} `json:"fileProblems"`
	Objects []struct {
		Ref        ref `json:"ref"`
		Interested int `json:"interested"`
		Live       int `json:"live"`
	} `json:"objects"`
}

type proxyStatus struct {
	Name         string `json:"name"`
	Address      string `json:"address"`
	ID           string `json:"id"`
	Role         string `json:"role"`
	Acknowledged string `json:"acknowledged"`
	Protocol     string `json:"protocol"`
	EnvoyVersion string `json:"envoyVersion"`
}

func (s *site) status(ctx context.Context) (status, error) {
	var st status
	err := s.Read(ctx, "pilot", "/v1/status", &st)
	return st, err
}

// inForce is nil when every proxy has the newest revision in force.
func (s *site) inForce(ctx context.Context) error {
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	// Not what pilot has told proxies of, but what it has accepted.
	var accepted struct {
		Revision string `json:"revision"`
	}
	if err := s.Read(ctx, "pilot", "/v1/objects", &accepted); err != nil {
		return err
	}
	want, err := strconv.ParseUint(accepted.Revision, 10, 64)
	if err != nil {
		return fmt.Errorf("revision %q: %w", accepted.Revision, err)
	}
	if len(st.Proxies) == 0 {
		return fmt.Errorf("no proxy is connected to pilot")
	}
	var behind []string
	for _, p := range st.Proxies {
		if have, err := strconv.ParseUint(p.Acknowledged, 10, 64); err != nil || have < want {
			behind = append(behind, p.Name+" at "+p.Acknowledged)
		}
	}
	if len(behind) > 0 {
		return fmt.Errorf("not at revision %d: %s", want, strings.Join(behind, ", "))
	}
	return nil
}

// lookAtProxies shows what a failed test may have to do with: which proxies are behind,
// and what they wait for.
func (s *site) lookAtProxies(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	err := s.inForce(ctx)
	if err == nil {
		return
	}
	t.Logf("proxies: %v", err)
	st, err := s.status(ctx)
	if err != nil {
		return
	}
	for _, p := range st.Proxies {
		name, _, _ := strings.Cut(p.Name, ".")
		if p.Acknowledged == st.Revision {
			continue
		}
		warming, _ := s.Envoy(name).Get(ctx, "/config_dump?resource=dynamic_warming_clusters")
		stats, _ := s.Envoy(name).Get(ctx, "/stats?filter=(cluster_manager|listener_manager|rds|control_plane)")
		t.Logf("%+v\nwarming: %s\n%s", p, brief(warming), stats)
	}
}

// connected is nil when the named proxies, and as many as the fleet has in all, are
// connected to pilot.
func (s *site) connected(ctx context.Context) error {
	snapshot, err := s.Snapshot()
	if err != nil {
		return err
	}
	want := map[string]bool{}
	for _, p := range snapshot.Processes {
		if host, isSidecar := strings.CutSuffix(p.Name, ".sidecar"); isSidecar && p.Phase == "ready" {
			want[host+".default"] = true
		}
	}
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	for _, p := range st.Proxies {
		delete(want, p.Name)
	}
	if len(want) > 0 {
		return fmt.Errorf("not connected to pilot: %v", want)
	}
	return nil
}
