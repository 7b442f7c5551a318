package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/netns"
)

// keeper has the sockets that processes listen on. They stay open from the first start
// of a process until it is not wanted any more: what comes while the process is away is
// not refused, and waits in the kernel for the next one. Safe for concurrent use.
type keeper struct {
	mu   sync.Mutex
	open map[string][]*os.File // by process name
}

func newKeeper() *keeper { return &keeper{open: map[string][]*os.File{}} }

// of returns the sockets of a process, opened in its network the first time. They stay
// the keeper's.
func (k *keeper) of(p fleet.Process, space *netns.Space) ([]*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if files := k.open[p.Name]; files != nil {
		return files, nil
	}
	var files []*os.File
	for _, s := range p.Listen {
		var file *os.File
		err := space.Do(func() (err error) {
			file, err = listen(s)
			return err
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen for %s: %w", p.Name, err), closeAll(files))
		}
		files = append(files, file)
	}
	k.open[p.Name] = files
	return files, nil
}

// close lets go of the sockets of a process: what comes is refused from now on.
func (k *keeper) close(p fleet.Process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = closeAll(k.open[p.Name]) // nothing was written to them
	delete(k.open, p.Name)
}

func closeAll(files []*os.File) error {
	var failures []error
	for _, file := range files {
		failures = append(failures, file.Close())
	}
	return errors.Join(failures...)
}

// listen opens a socket in the network of the calling thread.
func listen(s fleet.Socket) (*os.File, error) {
	ctx := context.Background() // it does not wait
	var config net.ListenConfig
	if s.Network == "udp" {
		conn, err := config.ListenPacket(ctx, s.Network, s.Address.String())
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn.(*net.UDPConn).File()
	}
	listener, err := config.Listen(ctx, s.Network, s.Address.String())
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	return listener.(*net.TCPListener).File()
}
