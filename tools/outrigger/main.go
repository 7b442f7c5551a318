// Command outrigger runs a mesh on one machine, and works with one anywhere.
package main

import (
	"os"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
