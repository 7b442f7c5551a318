// Command modcheck checks that the modules of the repository fit together.
//
// In come go.work and the go.mod files; out comes one line per disagreement and exit
// code 1: a direct dependency that two modules want in different versions, a sibling
// without its replace line, different go lines, a module that go.work does not list.
// It changes nothing and needs no network.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	root := flag.String("root", ".", "repository `folder`")
	flag.Parse()
	w, err := read(*root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "modcheck:", err)
		os.Exit(2)
	}
	problems := w.check()
	for _, p := range problems {
		fmt.Println(p)
	}
	if len(problems) > 0 {
		fmt.Fprintf(os.Stderr, "modcheck: %d disagreements\n", len(problems))
		os.Exit(1)
	}
}
