// Package natsbus keeps the bus in NATS JetStream: a bucket is the stream behind a KV
// bucket. In: calls of bus.Source and bus.Sink. Out: requests to the server, each with
// a deadline. It decides nothing about what it reads.
//
// It reads with direct gets and makes no consumers: one request is answered from one
// instant between two batches, nothing is kept on the server for a reader, and who may
// read needs the right to two subjects only. A reader that may make consumers may have
// the server deliver to subjects that it could not write itself.
package natsbus

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// Config is what a Conn needs to know.
type Config struct {
	// Servers are addresses as "host:port" or URLs.
	Servers []string
	// TLS is used anew for each connection, so certificates that it gets dynamically
	// are renewed with the next one. Nil is plain text.
	TLS *tls.Config
	// Reader is for who may only read: it asks through the subjects that the server
	// settings we ship open to the readers' account.
	Reader bool
	// Name is shown in the server's logs.
	Name string
	// Replicas of each bucket that is made here; 0 is 1.
	Replicas int
}

// Deadlines and bounds of the connection. A dead peer is noticed after two pings.
const (
	dialTimeout  = 3 * time.Second
	callTimeout  = 5 * time.Second
	pingEvery    = 5 * time.Second
	pingsMissing = 2
	waitFirst    = 50 * time.Millisecond
	waitMost     = time.Second
)

// Conn is a connection to the bus that is tried again forever. Safe for concurrent
// use.
type Conn struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	replicas int
	api      string // prefix of what is asked

	mu     sync.Mutex
	stores []*Store
	epoch  context.Context // ends with the connection that is in use
	end    context.CancelFunc
}

// Connect returns at once; the server need not be there. The error is about the
// configuration.
func Connect(cfg Config, log *slog.Logger) (*Conn, error) {
	c := &Conn{replicas: max(cfg.Replicas, 1), api: apiServer}
	if cfg.Reader {
		c.api = apiReader
	}
	c.epoch, c.end = context.WithCancel(context.Background())
	options := []nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(dialTimeout),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsMissing),
		nats.FlusherTimeout(callTimeout),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.CustomReconnectDelay(backoff),
		nats.IgnoreAuthErrorAbort(), // a server's settings may be mended
		nats.ReconnectBufSize(-1),   // what cannot be sent now fails now
		nats.ConnectHandler(func(*nats.Conn) { c.wake() }),
		nats.ReconnectHandler(func(*nats.Conn) { c.wake() }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("connection to the bus lost", "error", err)
			}
			c.lost()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("bus", "error", err)
		}),
	}
	if cfg.TLS != nil {
		options = append(options, nats.Secure(cfg.TLS))
	}
	nc, err := nats.Connect(strings.Join(cfg.Servers, ","), options...)
	if err != nil {
		return nil, fault.Invalid.Wrap(err, "bus "+strings.Join(cfg.Servers, ","))
	}
	c.nc = nc
	if c.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(callTimeout)); err != nil {
		nc.Close()
		return nil, fault.Internal.Wrap(err, "bus")
	}
	return c, nil
}

// Close ends the connection. Calls that are under way fail.
func (c *Conn) Close() {
	c.nc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
}

// backoff is the wait before a server is tried for the nth time: doubling, with a
// quarter of jitter.
func backoff(n int) time.Duration {
	d := min(waitFirst<<min(n, 10), waitMost)
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// generation differs after every reconnect, from the first moment on.
func (c *Conn) generation() uint64 { return c.nc.Stats().Reconnects }

// lost ends the calls that wait for an answer which will not come any more.
func (c *Conn) lost() {
	c.mu.Lock()
	c.end()
	c.epoch, c.end = context.WithCancel(context.Background())
	c.mu.Unlock()
	c.wake()
}

func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.stores {
		s.hint()
	}
}

// call bounds one call: by time, and by the life of the connection.
func (c *Conn) call(ctx context.Context) (context.Context, context.CancelFunc) {
	c.mu.Lock()
	epoch := c.epoch
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	stop := context.AfterFunc(epoch, cancel)
	return ctx, func() { stop(); cancel() }
}

// Subject is one that a reader asks, and what it is for the server.
type Subject struct {
	Reader, Server string
}

// Subjects are those of one bucket, from which a server's permissions are made. Who
// may read asks Read and listens on Changed; who may write publishes to Write and
// Changed and asks Read by the server's names. Answers come to inboxes.
type Subjects struct {
	Read    []Subject
	Write   []string
	Changed string
}

// SubjectsOf returns the subjects of a bucket.
func SubjectsOf(bucket string) Subjects {
	stream := streamName(bucket)
	s := Subjects{
		Write: []string{
			subjectData + bucket + ".>",
			apiServer + askLast + stream,
			apiServer + "STREAM.CREATE." + stream,
			apiServer + "STREAM.UPDATE." + stream,
			apiServer + "STREAM.DELETE." + stream,
		},
		Changed: subjectChanged + bucket,
	}
	for _, ask := range []string{askInfo, askDirect} {
		s.Read = append(s.Read, Subject{apiReader + ask + stream, apiServer + ask + stream})
	}
	return s
}

const (
	apiServer      = "$JS.API."
	apiReader      = "outrigger.read."
	askInfo        = "STREAM.INFO."
	askDirect      = "DIRECT.GET."
	askLast        = "STREAM.MSG.GET."
	subjectData    = "$KV."
	subjectChanged = "outrigger.changed."
)

func streamName(bucket string) string { return "KV_" + bucket }
