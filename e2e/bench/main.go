// Command bench measures the mesh against bare Envoys and prints one table. It runs
// whole meshes to do so, and itself on their hosts as server and sender.
package main

import (
	"fmt"
	"os"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/command"
)

func main() {
	if err := command.Run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(command.Code(err))
	}
}
