package front

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
