package bookinfo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/call"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/details"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/productpage"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/ratings"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/reviews"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/serve"
)

// Main is the whole command: it returns the process's exit code, 2 for a wrong command line and 1 for a service that
// could not run.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := ParseFlags(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "bookinfo: %v\nbookinfo --help lists the flags\n", err)
		return 2
	}
	level := slog.LevelInfo
	if cfg.Verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level}))
	if err := Run(ctx, cfg, log); err != nil {
		fmt.Fprintf(stderr, "bookinfo: %v\n", err)
		return 1
	}
	return 0
}

// Run listens and serves until ctx ends, and then until requests in work are answered.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return err
	}
	transport := call.NewTransport()
	defer transport.CloseIdleConnections()
	return runOn(ctx, cfg, ln, transport, log)
}

// runOn serves on ln, which it closes, and reaches the other services through rt.
func runOn(ctx context.Context, cfg Config, ln net.Listener, rt http.RoundTripper, log *slog.Logger) error {
	origin := book.Origin{Version: cfg.Version, Pod: cfg.Pod}
	if origin.Pod == "" {
		origin.Pod = cfg.Service + "-" + cfg.Version
	}
	log = log.With("service", cfg.Service, "version", cfg.Version)
	handler, err := newHandler(cfg, origin, call.New(rt), log)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	log.Info("listening", "address", ln.Addr().String())
	err = serve.New(serve.Config{
		Name:        cfg.Service,
		MaxInFlight: cfg.MaxInFlight,
		Linger:      cfg.Linger,
		Drain:       cfg.Drain,
	}, handler, log).Run(ctx, ln)
	log.Info("stopped")
	return err
}

func newHandler(cfg Config, origin book.Origin, client *call.Client, log *slog.Logger) (http.Handler, error) {
	switch cfg.Service {
	case "details":
		return details.New(origin), nil
	case "ratings":
		return ratings.New(origin), nil
	case "reviews":
		return reviews.New(reviews.Config{Origin: origin, Ratings: base(cfg.Ratings)}, client, log)
	case "productpage":
		return productpage.New(productpage.Config{
			Origin:  origin,
			Details: base(cfg.Details),
			Reviews: base(cfg.Reviews),
			Ratings: base(cfg.Ratings),
		}, client, log), nil
	}
	return nil, fmt.Errorf("no service %.40q", cfg.Service)
}

func base(url string) string { return strings.TrimRight(url, "/") }
