package front

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

func TestAnEnvoyThatHangsIsNotCalledKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec sleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := checkEnvoy(ctx, path); err == nil || !strings.Contains(err.Error(), "did not say its version") {
		t.Errorf("got %v, want that it did not say its version", err)
	}
}

func TestTooFewOpenFilesAreRefused(t *testing.T) {
	plan := fleet.Plan{Publish: make([]fleet.Publish, 6), Processes: make([]fleet.Process, 17)}
	if err := checkOpenFiles(plan, 1024); err != nil {
		t.Errorf("1024 files: %v", err)
	}
	err := checkOpenFiles(plan, 512)
	if err == nil || !strings.Contains(err.Error(), "512") || !strings.Contains(err.Error(), "ulimit") {
		t.Errorf("512 files: error %v, want one that names the limit and what to do", err)
	}
}
