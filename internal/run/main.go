package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main runs f until it returns, with a context that ends at SIGINT or SIGTERM, prints
// its error on standard error and returns the exit code: 0, 1, or what an error in
// the chain says by an ExitCode() int method. Only main calls it.
func Main(f func(context.Context) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := f(ctx)
	if err == nil {
		return 0
	}
	var coded interface{ ExitCode() int }
	code := 1
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	}
	if code != 0 {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	return code
}
