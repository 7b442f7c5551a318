package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// Limits of what goes into one call.
const (
	maxTotal = 15 << 20
	maxFiles = 10_000
)

const stdinName = "<stdin>"

// documents reads what is to be sent.
func documents(paths []string, s streams) ([]*pilotv1.Document, error) {
	docs, problems, err := readDocuments(paths, s.in)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, &refusal{problems}
	}
	return docs, nil
}

// readDocuments reads files, folders and, for "-", standard input. Problems are files
// that are too large to be sent.
func readDocuments(paths []string, in io.Reader) (docs []*pilotv1.Document, problems []*pilotv1.Problem, err error) {
	var files []string
	for _, p := range paths {
		found, err := filesOf(p)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, found...)
	}
	if len(files) > maxFiles {
		return nil, nil, fmt.Errorf("%d files; at most %d are read", len(files), maxFiles)
	}
	if dup := duplicate(files); dup != "" {
		return nil, nil, &Exit{Code: exitUsage, Err: fmt.Errorf("%s is given twice", dup)}
	}
	total := 0
	for _, f := range files {
		d, problem, err := readDocument(f, in)
		if err != nil {
			return nil, nil, err
		}
		if problem != nil {
			problems = append(problems, problem)
			continue
		}
		if total += len(d.GetContent()); total > maxTotal {
			return nil, nil, fmt.Errorf("the files together have more than %s, at %s; apply them in parts", decode.Size(maxTotal), f)
		}
		docs = append(docs, d)
	}
	return docs, problems, nil
}

func duplicate(files []string) string {
	sorted := slices.Sorted(slices.Values(files))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return sorted[i]
		}
	}
	return ""
}

// filesOf lists what a path means: itself, or the documents right inside a folder.
func filesOf(path string) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var out []string
	var strange []*pilotv1.Problem
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" && ext != ".json" {
			continue
		}
		file := filepath.Join(path, e.Name())
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			strange = append(strange, &pilotv1.Problem{File: file,
				Message: "is " + kindOf(info.Mode()) + "; of a folder only files are read: remove it, or give what is to be read with -f by itself"})
		}
		out = append(out, file)
	}
	if len(strange) > 0 {
		return nil, &refusal{strange}
	}
	if len(out) == 0 {
		return nil, &refusal{[]*pilotv1.Problem{{File: path,
			Message: "no .yaml, .yml or .json file is right in this folder; folders inside it are not read: name one of them, or a file"}}}
	}
	return out, nil
}

// kindOf says what is there instead of a file.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a link to a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	default:
		return "a device"
	}
}

// readDocument reads one file as far as it is taken.
func readDocument(path string, in io.Reader) (*pilotv1.Document, *pilotv1.Problem, error) {
	name, size := path, int64(0)
	if path == "-" {
		name = stdinName
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, nil, err
		}
		in, size = f, info.Size()
	}
	content, err := io.ReadAll(io.LimitReader(in, decode.MaxBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	name = strings.ToValidUTF8(name, "\uFFFD")
	if p := decode.TooLong(name, content, size); p != nil {
		return nil, p, nil
	}
	return &pilotv1.Document{Name: name, Content: content}, nil, nil
}

// someFile refuses a verb without -f.
func someFile(files []string) error {
	if len(files) == 0 {
		return &Exit{Code: exitUsage, Err: errors.New("say what with -f FILE, -f FOLDER or -f - for standard input")}
	}
	return nil
}
