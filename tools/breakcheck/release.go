package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/semver"
)

// rules say what breaks clients, and where contracts are.
const rules = "buf.yaml"

// What of a release is compared: its contracts, and the REST API made of them.
var compared = []string{"proto", rules}

// dependencies are third-party contracts; those of today stand for those of a release.
const dependencies = ".tools/proto-deps"

// lastRelease is the highest release that is part of the history of what is checked
// out, "" if there is none.
func lastRelease(ctx context.Context, root string, out io.Writer) (string, error) {
	if _, err := os.Stat(filepath.Join(root, ".git")); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err := complete(ctx, root, out); err != nil {
		return "", err
	}
	tags, err := git(ctx, root, "tag", "--list", "v*", "--merged", "HEAD")
	if err != nil {
		return "", err
	}
	return highest(string(tags)), nil
}

// highest is the highest release among names of tags, "" if there is none.
func highest(tags string) string {
	last := ""
	for tag := range strings.FieldsSeq(tags) {
		tag = strings.TrimPrefix(tag, "refs/tags/")
		released := semver.IsValid(tag) && semver.Prerelease(tag) == ""
		if released && (last == "" || semver.Compare(tag, last) > 0) {
			last = tag
		}
	}
	return last
}

// complete refuses a clone without history of a repository that has releases, and tells
// out when that cannot be said.
func complete(ctx context.Context, root string, out io.Writer) error {
	shallow, err := git(ctx, root, "rev-parse", "--is-shallow-repository")
	if err != nil || strings.TrimSpace(string(shallow)) == "false" {
		return err
	}
	there, err := git(ctx, root, "ls-remote", "--tags", "origin", "v*")
	if err != nil {
		_, err = fmt.Fprintf(out, "the clone is shallow, and whether there are releases is not known: %v\n", err)
		return err
	}
	if tag := highest(string(there)); tag != "" {
		return fmt.Errorf("the clone is shallow, so %s cannot be compared with: run git fetch --unshallow --tags", tag)
	}
	return nil
}

// export writes what is compared of a release into a folder.
func export(ctx context.Context, root, tag, into string) error {
	archive, err := git(ctx, root, append([]string{"archive", "--format=tar", tag}, compared...)...)
	if err != nil {
		return err
	}
	if err := unpack(archive, into); err != nil {
		return fmt.Errorf("contracts of %s: %w", tag, err)
	}
	if err := os.CopyFS(filepath.Join(into, dependencies), os.DirFS(filepath.Join(root, dependencies))); err != nil {
		return fmt.Errorf("contracts of others are not installed, run make setup: %w", err)
	}
	return nil
}

// unpack writes the regular files of an archive.
func unpack(archive []byte, into string) error {
	folder, err := os.OpenRoot(into)
	if err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	defer folder.Close() //nolint:errcheck // only a handle
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		entry, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpacking: %w", err)
		}
		if entry.Typeflag != tar.TypeReg {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("unpacking %s: %w", entry.Name, err)
		}
		if err := errors.Join(folder.MkdirAll(filepath.Dir(entry.Name), 0o755), folder.WriteFile(entry.Name, text, 0o644)); err != nil {
			return fmt.Errorf("unpacking: %w", err)
		}
	}
}

// compare lets the pinned buf look at both by the rules of the release, so that a change
// cannot excuse itself; its findings are the error.
func compare(ctx context.Context, root, old string) error {
	buf := filepath.Join(root, ".tools", "bin", "buf")
	if _, err := os.Stat(buf); err != nil {
		return fmt.Errorf("buf is not installed, run make setup: %w", err)
	}
	cmd := exec.CommandContext(ctx, buf, "breaking", "--config", filepath.Join(old, rules), "--against", old)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "BUF_CACHE_DIR="+filepath.Join(root, ".tools", "cache", "buf"))
	found, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, found)
	}
	return nil
}

func git(ctx context.Context, root string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = root
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}
