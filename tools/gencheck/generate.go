package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

const (
	// genDir is where generated files go, below the repository and below every
	// temporary output folder.
	genDir = "proto/gen"
	// openapiDir holds one document per service and a Go file that embeds them.
	openapiDir = genDir + "/openapi"
	// goPackagePrefix is as in buf.gen.yaml.
	goPackagePrefix = "github.com/outrigger-mesh/outrigger/proto/gen/go"
	// restMark is what a contract contains if it has a REST mapping.
	restMark = "google/api/annotations.proto"
)

// generate writes everything that belongs under genDir to out/genDir.
func generate(ctx context.Context, root, out string) error {
	if err := buf(ctx, root, "generate", "-o", out); err != nil {
		return err
	}
	services, err := restPackages(filepath.Join(root, "proto"))
	if err != nil {
		return err
	}
	names := make([]string, 0, len(services))
	for _, dir := range services {
		name := documentName(dir)
		template, err := openapiTemplate(name)
		if err != nil {
			return err
		}
		if err := buf(ctx, root, "generate", "--template", template, "--path", "proto/"+dir, "-o", out); err != nil {
			return err
		}
		if err := title(filepath.Join(out, openapiDir, name+".swagger.json"), name, dir); err != nil {
			return err
		}
		names = append(names, name)
	}
	return writeEmbed(filepath.Join(out, openapiDir), names)
}

// buf runs the pinned buf with the pinned plugins first in PATH and a cache of its own.
func buf(ctx context.Context, root string, args ...string) error {
	tools := filepath.Join(root, ".tools")
	path := filepath.Join(tools, "bin", "buf")
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("buf is not installed, run make setup: %w", err)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(),
		"PATH="+filepath.Join(tools, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"),
		"BUF_CACHE_DIR="+filepath.Join(tools, "cache", "buf"))
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = os.Stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("buf %s: %w\n%s", args[0], err, stderr.String())
	}
	return nil
}

// restPackages lists the folders below proto, slash-separated and sorted, that hold a
// contract with a REST mapping.
func restPackages(proto string) ([]string, error) {
	found := map[string]bool{}
	err := filepath.WalkDir(proto, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".proto" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte(restMark)) {
			dir, err := filepath.Rel(proto, filepath.Dir(path))
			if err != nil {
				return err
			}
			found[filepath.ToSlash(dir)] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for REST mappings: %w", err)
	}
	dirs := make([]string, 0, len(found))
	for dir := range found {
		dirs = append(dirs, dir)
	}
	sort.Strings(dirs)
	return dirs, nil
}

// documentName turns outrigger/pilot/v1 into pilot: the folder above the version.
func documentName(dir string) string {
	parts := strings.Split(dir, "/")
	if len(parts) < 2 {
		return dir
	}
	return parts[len(parts)-2]
}

// openapiTemplate is the buf template that merges one package into name.swagger.json.
func openapiTemplate(name string) (string, error) {
	text, err := json.Marshal(map[string]any{
		"version": "v2",
		"inputs":  []map[string]any{{"directory": "proto"}},
		"managed": map[string]any{
			"enabled":  true,
			"disable":  []map[string]any{{"path": "google"}},
			"override": []map[string]any{{"file_option": "go_package_prefix", "value": goPackagePrefix}},
		},
		"plugins": []map[string]any{{
			"local":    "protoc-gen-openapiv2",
			"out":      openapiDir,
			"strategy": "all",
			"opt":      []string{"allow_merge=true", "merge_file_name=" + name},
		}},
	})
	if err != nil {
		return "", fmt.Errorf("template for %q: %w", name, err)
	}
	return string(text), nil
}

// title names a document for its service, where the plugin names it for a file.
func title(path, name, dir string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("document of %s: %w", name, err)
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("document of %s: %w", name, err)
	}
	info := map[string]string{"title": "Outrigger " + exportedName(name) + " API", "version": dir[strings.LastIndex(dir, "/")+1:]}
	if doc["info"], err = json.Marshal(info); err != nil {
		return fmt.Errorf("document of %s: %w", name, err)
	}
	if text, err = json.MarshalIndent(doc, "", "  "); err != nil {
		return fmt.Errorf("document of %s: %w", name, err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("document of %s: %w", name, err)
	}
	return nil
}

// exportedName turns pilot into Pilot and ca, an initialism, into CA.
func exportedName(name string) string {
	if len(name) <= 2 {
		return strings.ToUpper(name)
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

// writeEmbed writes the Go package that hands the documents to the services. Each is a
// variable of its own, so a binary holds only the document that it serves.
func writeEmbed(dir string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("// Code generated by tools/gencheck. DO NOT EDIT.\n\n")
	b.WriteString("// Package openapi holds the OpenAPI document of each service, as JSON text.\n")
	b.WriteString("package openapi\n\nimport _ \"embed\" // the documents are part of the binary that serves them\n")
	for _, name := range names {
		exported := exportedName(name)
		fmt.Fprintf(&b, "\n// %s is the document of the %s API.\n//\n//go:embed %s.swagger.json\nvar %s string\n",
			exported, name, name, exported)
	}
	if err := os.WriteFile(filepath.Join(dir, "openapi.go"), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the openapi package: %w", err)
	}
	return nil
}
