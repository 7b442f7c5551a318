package registry

import (
	"fmt"
	"strings"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Limits of what a workload may say of itself. What is in the registry is told to every
// proxy that calls it, so that none may be able to make others refuse it.
const (
	maxLabel = 253
	maxPort  = 65535
	maxLease = time.Hour
)

// checkSpec checks labels, ports, state, locality and lease. A registration without a
// lease would outlive who made it, but for those who may write config anyway.
func checkSpec(w *configv1.Workload) error {
	for k, v := range w.GetLabels() {
		if k == "" || !isLabelText(k) || !isLabelText(v) {
			return fmt.Errorf("label %q=%q: want at most %d letters, digits, '-', '_', '.' and '/'", k, v, maxLabel)
		}
	}
	for name, n := range w.GetPorts() {
		if !isLabel(name) || n < 1 || n > maxPort {
			return fmt.Errorf("port %q=%d: want a DNS label and 1 to %d", name, n, maxPort)
		}
	}
	for _, part := range []string{w.GetLocality().GetRegion(), w.GetLocality().GetZone(), w.GetLocality().GetSubZone()} {
		if !isLabelText(part) {
			return fmt.Errorf("locality %q: want at most %d letters, digits, '-', '_', '.' and '/'", part, maxLabel)
		}
	}
	if _, known := configv1.Workload_State_name[int32(w.GetState())]; !known {
		return fmt.Errorf("state %d is unknown", w.GetState())
	}
	if d := w.GetLease().AsDuration(); w.GetLease() != nil && (d < time.Second || d > maxLease) {
		return fmt.Errorf("lease %s: want 1s to %s", d, maxLease)
	}
	return nil
}

func isLabelText(s string) bool {
	return len(s) <= maxLabel && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./", r)
	}) < 0
}
