package main

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxMember bounds one unpacked file; the largest pinned one has 182 MB.
const maxMember = 512 << 20

// wheel fetches, checks and unpacks; it returns the kept files, relative to the folder.
func (in *installer) wheel(ctx context.Context, w *wheel) ([]string, error) {
	a, err := w.archiveFor(in.goos, in.goarch)
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(in.dir, "fetch-")
	if err != nil {
		return nil, fmt.Errorf("folder for the download: %w", err)
	}
	defer os.RemoveAll(temp)
	path, err := in.fetch.Fetch(ctx, w, a.SHA256, temp)
	if err != nil {
		return nil, err
	}
	if err := checkHash(path, a.SHA256); err != nil {
		return nil, err
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", filepath.Base(path), err)
	}
	defer z.Close()
	var kept []string
	for _, m := range a.Files {
		if err := in.unpack(z, m); err != nil {
			return nil, err
		}
		kept = append(kept, m.To)
	}
	return kept, nil
}

// unpack puts one member in its place once its hash has been seen to be right.
func (in *installer) unpack(z *zip.ReadCloser, m member) (err error) {
	src, err := z.Open(m.From)
	if err != nil {
		return fmt.Errorf("wheel without %s: %w", m.From, err)
	}
	defer src.Close()
	to := filepath.Join(in.dir, m.To)
	if err := makeRoom(to); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(to), ".new-")
	if err != nil {
		return fmt.Errorf("temporary file for %s: %w", m.To, err)
	}
	defer os.Remove(temp.Name())
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(temp, h), io.LimitReader(src, maxMember))
	if err = errors.Join(err, temp.Chmod(m.Mode), temp.Close()); err != nil {
		return fmt.Errorf("unpacking %s: %w", m.From, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != m.SHA256 {
		return fmt.Errorf("%s has sha256 %s, want %s: nothing was installed", m.From, got, m.SHA256)
	}
	if err := os.Rename(temp.Name(), to); err != nil {
		return fmt.Errorf("putting %s in its place: %w", m.To, err)
	}
	return nil
}

// makeRoom makes the folder of path. Something of another kind in the way is named.
func makeRoom(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("folder of %s: %w", path, err)
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode().Type() == fs.ModeDir {
		return fmt.Errorf("%s is a folder and should be a file: remove it", path)
	}
	return nil
}

// checkHash reads a whole file.
func checkHash(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("checking a download: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("checking %s: %w", filepath.Base(path), err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%s has sha256 %s, want %s: nothing was installed", filepath.Base(path), got, want)
	}
	return nil
}
