package file

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/keystoretest"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func byKey(t *testing.T) Config {
	dir := t.TempDir()
	return Config{Path: filepath.Join(dir, "ca", "sealed"), KeyFile: filepath.Join(dir, "key"), Create: true}
}

func byPassphrase(t *testing.T) Config {
	dir := t.TempDir()
	return Config{Path: filepath.Join(dir, "ca", "sealed"), PassphraseFile: write(t, filepath.Join(dir, "pass"), "correct horse battery\n")}
}

func TestSuite(t *testing.T) {
	for name, config := range map[string]func(*testing.T) Config{"key": byKey, "passphrase": byPassphrase} {
		t.Run(name, func(t *testing.T) {
			keystoretest.Run(t, func(t *testing.T) keystoretest.Open {
				cfg := config(t)
				return func(_ context.Context, id spiffe.ID) (keystoretest.Store, error) { return Open(cfg, id, time.Now()) }
			})
		})
	}
}

func open(t *testing.T, cfg Config) error {
	t.Helper()
	_, err := Open(cfg, keystoretest.ID(t, "cluster.local"), time.Now())
	return err
}

func refused(t *testing.T, what string, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: got %v, want %q", what, err, w)
		}
	}
}

func TestFilesAreOursAlone(t *testing.T) {
	cfg := byKey(t)
	if err := open(t, cfg); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{cfg.Path, cfg.KeyFile} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want 0600", path, info.Mode(), err)
		}
	}
	for _, path := range []string{cfg.KeyFile, cfg.Path} {
		for _, mode := range []os.FileMode{0o640, 0o604, 0o666} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			refused(t, path, open(t, cfg), path, fmt.Sprintf("mode %04o", mode), "chmod 600")
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheSealedFileShowsNothing(t *testing.T) {
	cfg := byKey(t)
	s, err := Open(cfg, keystoretest.ID(t, "cluster.local"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	for _, plain := range [][]byte{[]byte("PRIVATE KEY"), s.Authority().Certificate().RawSubjectPublicKeyInfo} {
		if bytes.Contains(e.Box, plain) || bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(plain))) {
			t.Errorf("the sealed file shows %q", plain)
		}
	}
}

func TestAnotherSecretDoesNotOpen(t *testing.T) {
	cfg := byPassphrase(t)
	if err := open(t, cfg); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	wrong := cfg
	wrong.PassphraseFile = write(t, filepath.Join(dir, "p"), "another passphrase")
	refused(t, "another passphrase", open(t, wrong), cfg.Path, "not opened by passphrase file "+wrong.PassphraseFile)
	refused(t, "a key", open(t, Config{Path: cfg.Path, KeyFile: write(t, filepath.Join(dir, "k"), base64.StdEncoding.EncodeToString(make([]byte, 32)))}),
		"sealed with a passphrase")
	keyed := byKey(t)
	if err := open(t, keyed); err != nil {
		t.Fatal(err)
	}
	refused(t, "another key", open(t, Config{Path: keyed.Path, KeyFile: filepath.Join(dir, "k")}), "not opened by key file")
	refused(t, "a passphrase", open(t, Config{Path: keyed.Path, PassphraseFile: wrong.PassphraseFile}), "sealed with a key")
	if after, err := os.ReadFile(cfg.Path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the refusals have changed the file: %v", err)
	}
}

func TestAKeyFileThatIsGoneIsNotReplaced(t *testing.T) {
	cfg := byKey(t)
	if err := open(t, cfg); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(cfg.KeyFile); err != nil {
		t.Fatal(err)
	}
	refused(t, "key file gone", open(t, cfg), cfg.KeyFile, "is gone")
	if _, err := os.Stat(cfg.KeyFile); !os.IsNotExist(err) {
		t.Errorf("a new key file was made: %v", err)
	}
}

func TestDamage(t *testing.T) {
	cfg := byKey(t)
	if err := open(t, cfg); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*envelope)) string {
		var e envelope
		if err := json.Unmarshal(good, &e); err != nil {
			t.Fatal(err)
		}
		f(&e)
		out, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for name, c := range map[string]struct{ data, want string }{
		"empty":           {"", "damaged"},
		"rubbish":         {"\x00\x01", "damaged"},
		"half":            {string(good[:len(good)/2]), "damaged"},
		"another format":  {change(func(e *envelope) { e.Format = "x" }), "damaged"},
		"a bit of box":    {change(func(e *envelope) { e.Box[20] ^= 1 }), "damaged"},
		"short box":       {change(func(e *envelope) { e.Box = e.Box[:5] }), "damaged"},
		"another salt":    {change(func(e *envelope) { e.Salt[0] ^= 1 }), "another one"},
		"unknown KDF":     {change(func(e *envelope) { e.KDF.Name = "md5" }), "not known"},
		"greedy KDF":      {change(func(e *envelope) { e.KDF = kdf{kdfPass, 3, 1 << 31, 4} }), "out of bounds"},
		"slow KDF":        {change(func(e *envelope) { e.KDF = kdf{kdfPass, 1 << 31, 64 << 10, 4} }), "out of bounds"},
		"KDF of no steps": {change(func(e *envelope) { e.KDF = kdf{kdfPass, 0, 0, 0} }), "out of bounds"},
	} {
		write(t, cfg.Path, c.data)
		refused(t, name, open(t, cfg), cfg.Path, c.want)
		if now, err := os.ReadFile(cfg.Path); err != nil || string(now) != c.data {
			t.Errorf("%s: the damaged file was changed, %v", name, err)
		}
	}
}

func TestBadSecrets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sealed")
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"neither":          {Config{Path: path}, "either passphraseFile or keyFile"},
		"both":             {Config{Path: path, KeyFile: "a", PassphraseFile: "b"}, "either passphraseFile or keyFile"},
		"short passphrase": {Config{Path: path, PassphraseFile: write(t, filepath.Join(dir, "a"), "secret\n")}, "6 bytes, want 12"},
		"no passphrase":    {Config{Path: path, PassphraseFile: filepath.Join(dir, "absent")}, "no such file"},
		"short key":        {Config{Path: path, KeyFile: write(t, filepath.Join(dir, "b"), "AAAA")}, "want 32 bytes"},
		"key in no base64": {Config{Path: path, KeyFile: write(t, filepath.Join(dir, "c"), "!!!")}, "want 32 bytes"},
		"no key":           {Config{Path: path, KeyFile: filepath.Join(dir, "absent")}, "does not exist: make one"},
		"key in no folder": {Config{Path: path, KeyFile: filepath.Join(dir, "x", "y"), Create: true}, "key file"},
	} {
		refused(t, name, open(t, c.cfg), c.want)
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: a sealed file was made: %v", name, err)
		}
	}
}
