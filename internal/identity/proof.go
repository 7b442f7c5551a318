package identity

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// Proof is what a process is given to get its first certificate: a join token that is
// good once and for one identity, and the certificates by which to know the authority.
type Proof struct {
	Token  string `json:"token"`
	ID     string `json:"id"`
	Bundle string `json:"bundle"` // PEM
}

// String keeps the token out of logs.
func (p Proof) String() string { return "proof of " + p.ID }

// Prover hands out proofs. Implementations may block until one can be made.
type Prover interface {
	Prove(ctx context.Context) (Proof, error)
}

// Inherited reads proofs from the descriptor that whoever started the process left
// open: one JSON document a line, the first without being asked, another for each
// line "?". Not for concurrent use.
type Inherited struct {
	conn  net.Conn
	lines *bufio.Reader
	asked bool
}

// joinFD names the environment variable that holds the descriptor's number.
const joinFD = "OUTRIGGER_JOIN_FD"

// Inherit opens the descriptor named by OUTRIGGER_JOIN_FD and removes the variable,
// so that children do not see it. It returns nil, nil when the variable is not set.
func Inherit() (*Inherited, error) {
	v := os.Getenv(joinFD)
	if v == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(v)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q is not the number of an open descriptor", joinFD, v)
	}
	if err := os.Unsetenv(joinFD); err != nil {
		return nil, fmt.Errorf("unset %s: %w", joinFD, err)
	}
	f := os.NewFile(uintptr(fd), "join")
	defer f.Close() //nolint:errcheck // FileConn has its own copy
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("%s=%d is not a socket: %w", joinFD, fd, err)
	}
	return &Inherited{conn: conn, lines: bufio.NewReaderSize(conn, 64<<10)}, nil
}

// Prove returns the next proof, asking for one after the first.
func (i *Inherited) Prove(ctx context.Context) (Proof, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	if err := i.conn.SetDeadline(deadline); err != nil {
		return Proof{}, fmt.Errorf("join descriptor: %w", err)
	}
	if i.asked {
		if _, err := i.conn.Write([]byte("?\n")); err != nil {
			return Proof{}, fmt.Errorf("ask for a join token: %w", err)
		}
	}
	line, err := i.lines.ReadSlice('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Proof{}, errors.New("no join token yet: whoever started this process has not got one from the authority")
	}
	if err != nil {
		return Proof{}, fmt.Errorf("read join token: %w", err)
	}
	i.asked = true
	var p Proof
	if err := json.Unmarshal(line, &p); err != nil {
		return Proof{}, errors.New("join token: not the JSON document that was expected")
	}
	return p, nil
}
