// Package bookinfo is Outrigger's sample application: a page about one book, made by four small services that call each
// other over HTTP. One process runs one of them. Flags come in, HTTP is served, nothing is kept.
package bookinfo

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/reviews"
)

// Config says which service this process is, and where the others are.
type Config struct {
	Service string // productpage, details, reviews or ratings
	Version string // v1; reviews also v2 and v3
	Pod     string // the name under which the process answers; empty: service and version
	Listen  string // host:port

	Details string // base URLs of the other services
	Reviews string
	Ratings string

	MaxInFlight int           // requests in work at once
	Linger      time.Duration // time between the order to stop and the closing of the listener
	Drain       time.Duration // time that requests in work then have to end
	Verbose     bool
}

// DefaultConfig returns the settings that hold where a flag says nothing. It names no service.
func DefaultConfig() Config {
	return Config{
		Version:     "v1",
		Listen:      ":9080",
		Details:     "http://details:9080",
		Reviews:     "http://reviews:9080",
		Ratings:     "http://ratings:9080",
		MaxInFlight: 2048,
		Linger:      250 * time.Millisecond,
		Drain:       6 * time.Second,
	}
}

// ParseFlags reads the command line. It writes help to out and then returns flag.ErrHelp.
func ParseFlags(args []string, out io.Writer) (Config, error) {
	cfg := DefaultConfig()
	var text strings.Builder
	fs := flag.NewFlagSet("bookinfo", flag.ContinueOnError)
	fs.SetOutput(&text)
	fs.StringVar(&cfg.Service, "service", cfg.Service, "the `service` to be: productpage, details, reviews or ratings")
	fs.StringVar(&cfg.Version, "version", cfg.Version, "its `version`: v1; reviews also v2 (black stars) and v3 (red stars)")
	fs.StringVar(&cfg.Pod, "instance", cfg.Pod, "`name` to answer under (default service-version)")
	fs.StringVar(&cfg.Listen, "listen", cfg.Listen, "`address` to listen on")
	fs.StringVar(&cfg.Details, "details", cfg.Details, "base `URL` of details")
	fs.StringVar(&cfg.Reviews, "reviews", cfg.Reviews, "base `URL` of reviews")
	fs.StringVar(&cfg.Ratings, "ratings", cfg.Ratings, "base `URL` of ratings")
	fs.IntVar(&cfg.MaxInFlight, "max-in-flight", cfg.MaxInFlight, "`requests` in work at once, more are answered 503")
	fs.DurationVar(&cfg.Linger, "linger", cfg.Linger, "at the end: `time` to go on listening, closing connections gently")
	fs.DurationVar(&cfg.Drain, "drain", cfg.Drain, "at the end: `time` that requests in work then have")
	fs.BoolVar(&cfg.Verbose, "verbose", cfg.Verbose, "log more")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(out, "bookinfo runs one service of the sample application.\n\n%s", text.String())
		return Config{}, err
	case err != nil:
		return Config{}, err
	case fs.NArg() > 0:
		return Config{}, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return cfg, cfg.check()
}

// check reports all mistakes together.
func (c Config) check() error {
	errs := []error{c.checkService()}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("--listen: %w", err))
	}
	errs = append(errs, checkURL("details", c.Details), checkURL("reviews", c.Reviews), checkURL("ratings", c.Ratings))
	if c.MaxInFlight < 1 {
		errs = append(errs, fmt.Errorf("--max-in-flight %d: want at least 1", c.MaxInFlight))
	}
	if c.Linger < 0 || c.Drain < 0 {
		errs = append(errs, errors.New("--linger and --drain: want no negative time"))
	}
	return errors.Join(errs...)
}

func (c Config) checkService() error {
	switch c.Service {
	case "reviews":
		return reviews.CheckVersion(c.Version)
	case "productpage", "details", "ratings":
		if c.Version != "v1" {
			return fmt.Errorf("%s has no version %.40q: want v1", c.Service, c.Version)
		}
		return nil
	}
	return fmt.Errorf("--service %.40q: want productpage, details, reviews or ratings", c.Service)
}

func checkURL(name, raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("--%s: %w", name, err)
	}
	if u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return fmt.Errorf("--%s %q: want http://host:port", name, raw)
	}
	return nil
}
