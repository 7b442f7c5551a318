package main

import (
	"go/ast"
	"strconv"
)

// clockCalls are the functions of package time that read the clock or wait.
var clockCalls = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"Tick": true, "NewTimer": true, "NewTicker": true,
}

// clocks finds uses of the clock and started goroutines in a file of a pure package.
func clocks(s source) []problem {
	clock := timeName(s.file)
	var found []problem
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, problem{s.fset.Position(n.Pos()), "PURE package starts a goroutine", whyPure})
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if ok && clock != "" && pkg.Name == clock && clockCalls[n.Sel.Name] {
				found = append(found, problem{s.fset.Position(n.Pos()), "PURE package uses time." + n.Sel.Name, "a time that becomes data is an argument"})
			}
		}
		return true
	})
	return found
}

// sleeps finds waiting by time: in a test it is slow or flaky, elsewhere it ignores that
// its caller wants to stop. In a file of synctest bubbles time is virtual.
func sleeps(s source) []problem {
	clock := timeName(s.file)
	if clock == "" {
		return nil
	}
	for _, imp := range s.imports() {
		if imp.path == "testing/synctest" {
			return nil
		}
	}
	var found []problem
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Sleep" {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == clock {
			found = append(found, problem{s.fset.Position(n.Pos()), "time.Sleep outside a synctest bubble", "wait for the event or for the context's end"})
		}
		return true
	})
	return found
}

// timeName is the name under which the file imports package time, or "".
func timeName(f *ast.File) string {
	for _, spec := range f.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err != nil || name != "time" {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return "time"
	}
	return ""
}
