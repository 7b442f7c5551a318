package main

import (
	"fmt"
	"go/token"
	"strings"
)

// problem is one import or call that the table does not allow.
type problem struct {
	at   token.Position
	text string
	why  string
}

// impure are the parts of std that do I/O, log, wait or start something; netip and
// url are values and stay allowed.
var impure = []string{"net", "os", "log", "context", "syscall", "io/ioutil", "plugin", "runtime", "expvar", "database/sql"}

// valuesInNet are packages below net that hold values only.
var valuesInNet = []string{"net/netip", "net/url"}

const (
	whyTesting = "production code that imports testing registers test flags and grows"
	whyPure    = "I/O in the core makes the core untestable"
	whyMain    = "main only translates flags"
	whyService = "services meet over RPC and bus only"
	whyEdge    = "data passes through the middle: IN and OUT packages never import each other"
	whyThird   = "third-party packages are listed per package in tools/depcheck/table.yaml"
	whyRow     = "every package has a row in tools/depcheck/table.yaml"
	whyDoor    = "a shared part imports only those above it in the table"
)

// judge checks one file against the table.
func (t table) judge(s source) []problem {
	if !t.known(s.dir) {
		return []problem{{at: s.fset.Position(s.file.Package), text: "package " + s.dir + " is in no row", why: whyRow}}
	}
	var found []problem
	for _, imp := range s.imports() {
		text, why := t.refuse(s, imp.path)
		if text != "" {
			found = append(found, problem{at: imp.at, text: fmt.Sprintf("%s imports %s", text, imp.path), why: why})
		}
	}
	if !s.test && t.isPure(s.dir) {
		return append(found, clocks(s)...)
	}
	return append(found, sleeps(s)...)
}

// known tells whether a folder has a row.
func (t table) known(dir string) bool {
	parts := strings.SplitN(dir, "/", 3)
	switch {
	case parts[0] == "services" && len(parts) > 1:
		svc, ok := t.Services[parts[1]]
		class, _ := svc.classOf(strings.Join(parts[2:], "/"))
		return ok && class != classUnknown
	case parts[0] == "internal" && len(parts) > 1:
		return t.sharedAt(parts[1]) >= 0
	}
	return t.folderOf(dir) != nil
}

// refuse returns who must not import the path and why, or nothing.
func (t table) refuse(s source, imp string) (string, string) {
	testish := s.test || strings.HasSuffix(s.name, "test")
	if imp == "testing" || strings.HasPrefix(imp, "testing/") {
		if testish {
			return "", ""
		}
		return "code that is not a test", whyTesting
	}
	to, own := strings.CutPrefix(imp, t.Module+"/")
	if !own && testish && below(imp, t.Tests) {
		return "", ""
	}
	kind := std
	switch {
	case own:
		kind = ours
		imp = to
	case strings.Contains(strings.SplitN(imp, "/", 2)[0], "."):
		kind = third
	}
	parts := strings.SplitN(s.dir, "/", 3)
	switch {
	case parts[0] == "services" && len(parts) > 1:
		return t.refuseService(s, parts, kind, imp)
	case parts[0] == "internal" && len(parts) > 1:
		return t.refuseShared(testish, parts[1], kind, imp)
	default:
		return t.refuseFolder(s.dir, kind, imp)
	}
}

// kind is where an imported package comes from.
type kind int

const (
	std kind = iota
	ours
	third
)

// refuseService applies the rows of one service; imp is relative to the repository if
// it is ours.
func (t table) refuseService(s source, parts []string, k kind, imp string) (string, string) {
	svc := t.Services[parts[1]]
	class, named := svc.classOf(strings.Join(parts[2:], "/"))
	prefix := "services/" + parts[1]
	who := string(class)
	if s.test {
		who, class = "test", classRoot // tests may see the whole service
	}
	switch k {
	case std:
		if class == classPure && impureStd(imp) {
			return who, whyPure
		}
	case third:
		allowed := svc.entryOf(named).Third
		if s.test {
			allowed = svc.allThird()
		}
		if class == classMain {
			return who, whyMain
		}
		if !below(imp, allowed) {
			return who, first(svc.Light, whyThird)
		}
	case ours:
		return t.refuseOurs(svc, class, who, prefix, named, imp)
	}
	return "", ""
}

// refuseOurs decides about a package of this repository.
func (t table) refuseOurs(svc service, class class, who, prefix, named, imp string) (string, string) {
	within, same := strings.CutPrefix(imp, prefix)
	within = strings.TrimPrefix(within, "/")
	switch {
	case strings.HasPrefix(imp, "services/") && !same:
		return who, whyService
	case same:
		return svc.refuseSame(class, who, named, within)
	case below(imp, []string{"proto"}) && class != classMain:
		if svc.Light != "" {
			return who, svc.Light
		}
		return "", ""
	case !below(imp, []string{"internal"}):
		return who, "a service imports itself, internal and proto"
	case svc.Shared != nil && !below(imp, svc.Shared):
		return who, svc.Light
	case class == classMain && !below(imp, t.Main):
		return who, whyMain
	case class == classPure && !below(imp, t.Core):
		return who, whyPure
	}
	return "", ""
}

// refuseSame decides about a package of the same service.
func (s service) refuseSame(class class, who, named, to string) (string, string) {
	target, _ := s.classOf(to)
	if _, ok := s.entryOf(named).Also[to]; ok && class != classRoot {
		return "", ""
	}
	switch {
	case class == classRoot && to != "" || class == classMain && to == "":
		return "", ""
	case class == classMain:
		return who, whyMain
	case class == classRoot:
		return "", "" // an external test of the root imports it
	case below(to, []string{named}), target == classAPI:
		return "", ""
	case class == classAPI:
		return who, "authors outside the service import it, so it imports nothing that they may not"
	case target == classPure:
		return "", ""
	case class == classPure:
		return who, whyPure
	}
	return who, whyEdge
}

// refuseShared applies the order of the shared parts.
func (t table) refuseShared(test bool, name string, k kind, imp string) (string, string) {
	at := t.sharedAt(name)
	row := t.Shared[at]
	who := "shared part " + name
	switch k {
	case third:
		if !below(imp, row.Third) {
			return who, first(row.StdOnly, whyThird)
		}
	case ours:
		parts := strings.SplitN(imp, "/", 3)
		if parts[0] == "proto" && row.StdOnly == "" {
			return "", ""
		}
		if parts[0] != "internal" || len(parts) < 2 {
			return who, first(row.StdOnly, "a shared part knows no service")
		}
		to := t.sharedAt(parts[1])
		switch {
		case to == at || test && to >= 0:
			return "", ""
		case to < 0 || to > at:
			return who, whyDoor
		case row.StdOnly != "" && t.Shared[to].StdOnly == "":
			return who, row.StdOnly
		}
	}
	return "", ""
}

func (t table) sharedAt(name string) int {
	for i, s := range t.Shared {
		if s.Name == name {
			return i
		}
	}
	return -1
}

// refuseFolder applies the rows of what is no service.
func (t table) refuseFolder(dir string, k kind, imp string) (string, string) {
	f := t.folderOf(dir)
	if k == third && !below(imp, f.Third) || k == ours && !below(imp, f.May) {
		return "code in " + f.Path, f.Because
	}
	return "", ""
}

// folderOf finds the row of a folder that is no service, or nil.
func (t table) folderOf(dir string) *folder {
	for i := range t.Folders {
		if below(dir, []string{t.Folders[i].Path}) {
			return &t.Folders[i]
		}
	}
	return nil
}

// isPure tells whether a folder belongs to a PURE package of a service.
func (t table) isPure(dir string) bool {
	parts := strings.SplitN(dir, "/", 3)
	if parts[0] != "services" || len(parts) < 3 {
		return false
	}
	class, _ := t.Services[parts[1]].classOf(parts[2])
	return class == classPure
}

func impureStd(imp string) bool {
	return below(imp, impure) && !below(imp, valuesInNet)
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
