// Command bookinfo runs one service of the sample application; its flags say which.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := bookinfo.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
