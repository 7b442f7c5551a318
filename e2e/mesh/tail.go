package mesh

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// tail keeps the end of a text. Safe for concurrent use.
type tail struct {
	limit int // bytes

	mu   sync.Mutex
	text []byte
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - t.limit; over > 0 {
		t.text = slices.Delete(t.text, 0, over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// startTail is how many lines of each log an error at the start shows.
const startTail = 8

// maxTail bounds what is read from the end of a log, in bytes.
const maxTail = 64 << 10

// Logs returns the last lines of every process's log, Envoys' included.
func (m *Mesh) Logs(lines int) string {
	var paths []string
	for _, pattern := range []string{"log/*.log", "log/*.crash", "*/envoy.log", "*/*/envoy.log", "*/*/*/envoy.log"} {
		found, err := filepath.Glob(filepath.Join(m.State, pattern))
		if err == nil {
			paths = append(paths, found...)
		}
	}
	var out strings.Builder
	for _, path := range paths {
		text, err := lastLines(path, lines)
		if err != nil {
			text = err.Error()
		}
		if text != "" {
			name, _ := filepath.Rel(m.State, path)
			fmt.Fprintf(&out, "--- %s\n%s\n", name, text)
		}
	}
	return out.String()
}

// Log returns the whole of what is kept of a process's log.
func (m *Mesh) Log(name string) (string, error) {
	p, err := m.Process(name)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return "", fmt.Errorf("log of %s: %w", name, err)
	}
	return string(text), nil
}

func lastLines(path string, lines int) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	text := make([]byte, min(info.Size(), maxTail))
	if _, err := file.ReadAt(text, info.Size()-int64(len(text))); err != nil {
		return "", err
	}
	all := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n"))), nil
}
