// Package natsd is the NATS server that pilot starts when it is given none, and the
// settings for one that runs by itself. In: who may write and who may read. Out: a
// server that takes mesh certificates only and gives everybody the least that is
// enough. It never looks at what is stored.
//
// Who may write is in another NATS account than who may read. In one account a reader
// could name a data subject as the place for an answer, and the server, which nobody
// checks, would write it there. From another account only the few subjects that are
// exported can be asked, and answers go back to the account that asked.
package natsd

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"text/template"

	"github.com/outrigger-mesh/outrigger/internal/bus/natsbus"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// Access is who may use which buckets. Everybody else is refused.
type Access struct {
	Buckets []string
	// Writers read and write, and may make a bucket. Readers read.
	Writers, Readers []spiffe.ID
}

// Files are where a server of its own finds its certificate.
type Files struct {
	Cert, Key, CA string
}

// settings is what the template is filled with.
type settings struct {
	Listen   string
	StoreDir string
	Files    *Files // nil for the embedded server, whose TLS is not in a file
	Writers  []user
	Readers  []user
	Reads    []natsbus.Subject
	Changes  []string
}

type user struct {
	Name               string
	Publish, Subscribe []string
}

//go:embed nats.conf.tmpl
var source string

// inboxes is where answers come back; it is per account.
const inboxes = "_INBOX.>"

// render writes the server's configuration.
func render(listen, storeDir string, files *Files, a Access) (string, error) {
	if err := a.check(); err != nil {
		return "", err
	}
	if _, err := netip.ParseAddrPort(listen); err != nil {
		return "", fmt.Errorf("nats: listen address: %w", err)
	}
	s := settings{Listen: listen, StoreDir: storeDir, Files: files}
	var write []string
	for _, b := range a.Buckets {
		sub := natsbus.SubjectsOf(b)
		s.Reads = append(s.Reads, sub.Read...)
		s.Changes = append(s.Changes, sub.Changed)
		write = append(write, sub.Write...)
	}
	read := make([]string, len(s.Reads))
	for i, r := range s.Reads {
		read[i] = r.Reader
		write = append(write, r.Server)
	}
	write = append(write, s.Changes...)
	listens := append([]string{inboxes}, s.Changes...)
	for _, id := range a.Writers {
		s.Writers = append(s.Writers, user{id.String(), write, listens})
	}
	for _, id := range a.Readers {
		s.Readers = append(s.Readers, user{id.String(), read, listens})
	}
	t, err := template.New("nats.conf").Funcs(template.FuncMap{"q": strconv.Quote}).Parse(source)
	if err != nil {
		return "", fmt.Errorf("nats: settings: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, s); err != nil {
		return "", fmt.Errorf("nats: settings: %w", err)
	}
	return out.String(), nil
}

// File is the configuration of a NATS server that runs by itself, with the same rights
// as the embedded one. It is what deploy/config/nats.conf holds.
func File(listen, storeDir string, files Files, a Access) (string, error) {
	return render(listen, storeDir, &files, a)
}

// check refuses what would give more than was meant. One identity cannot be in both
// accounts, since a certificate leads to one user.
func (a Access) check() error {
	if len(a.Buckets) == 0 || len(a.Writers) == 0 {
		return errors.New("nats: no bucket or nobody who may write")
	}
	seen := map[spiffe.ID]bool{}
	for _, id := range slices.Concat(a.Writers, a.Readers) {
		if id.IsZero() || seen[id] {
			return fmt.Errorf("nats: identity %q is empty or there twice", id)
		}
		seen[id] = true
	}
	return nil
}
