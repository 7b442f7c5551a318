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
	// Servers are addresses as "host:port" or URLs. Not used with InProcess.
	Servers []string
	// TLS is for connections to Servers; it is used anew for each, so certificates
	// that it gets dynamically are renewed with the next one. Nil is plain text.
	TLS *tls.Config
	// InProcess connects to a server in this process instead.
	InProcess nats.InProcessConnProvider
	// Token proves to an InProcess server who connects.
	Token string
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
	waitMost     = 2 * time.Second
)

// Conn is a connection to the bus that is tried again forever. Safe for concurrent
// use.
type Conn struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	replicas int

	mu     sync.Mutex
	stores []*Store
	epoch  context.Context // ends with the connection that is in use
	end    context.CancelFunc
}

// Connect returns at once; the server need not be there. The error is about the
// configuration.
func Connect(cfg Config, log *slog.Logger) (*Conn, error) {
	c := &Conn{replicas: max(cfg.Replicas, 1)}
	c.epoch, c.end = context.WithCancel(context.Background())
	options := []nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(dialTimeout),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsMissing),
		nats.FlusherTimeout(callTimeout),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.CustomReconnectDelay(backoff),
		nats.ReconnectBufSize(-1), // what cannot be sent now fails now
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
	switch {
	case cfg.InProcess != nil:
		options = append(options, nats.InProcessServer(cfg.InProcess), nats.Token(cfg.Token))
	case cfg.TLS != nil:
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

// Subjects that a client uses for a bucket. Who may read publishes to Read and listens
// on Changed; who may write publishes to Write, Read and Changed.
type Subjects struct {
	Read    []string
	Write   []string
	Changed string
}

// SubjectsOf returns the subjects of a bucket, from which a server's permissions are
// made.
func SubjectsOf(bucket string) Subjects {
	stream := streamName(bucket)
	return Subjects{
		Read: []string{subjectInfo + stream, subjectDirect + stream},
		Write: []string{
			subjectData + bucket + ".>",
			subjectLast + stream,
			"$JS.API.STREAM.CREATE." + stream,
			"$JS.API.STREAM.UPDATE." + stream,
			"$JS.API.STREAM.DELETE." + stream,
		},
		Changed: subjectChanged + bucket,
	}
}

const (
	subjectData    = "$KV."
	subjectInfo    = "$JS.API.STREAM.INFO."
	subjectDirect  = "$JS.API.DIRECT.GET."
	subjectLast    = "$JS.API.STREAM.MSG.GET."
	subjectChanged = "outrigger.changed."
)

func streamName(bucket string) string { return "KV_" + bucket }
