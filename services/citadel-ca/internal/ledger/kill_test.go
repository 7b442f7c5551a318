package ledger

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/authn"
)

// victim names the folder in which a child of the test works until it is killed.
const victim = "CITADEL_LEDGER_VICTIM"

// TestMain turns the child into a process that adds and redeems tokens for ever and
// prints the number of each one that it was told is used.
func TestMain(m *testing.M) {
	dir := os.Getenv(victim)
	if dir == "" {
		os.Exit(m.Run())
	}
	l, err := Open(dir, domain, start())
	for n := 0; err == nil; n++ {
		err = useOne(l, n)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func useOne(l *Ledger, n int) error {
	id, err := spiffe.New(domain, "default", "reviews")
	if err != nil {
		return err
	}
	t := token(n)
	if err := l.Add(t, authn.Record{ID: id, Expires: start().Add(time.Hour)}, start()); err != nil {
		return err
	}
	if err := l.Redeem(t.Name()); err != nil {
		return err
	}
	_, err = fmt.Println(n)
	return err
}

func TestAUsedTokenStaysUsedAfterKill9(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victim+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := -1
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
			t.Fatal(err)
		}
		if last == 50 {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // what it still said before it died counts too
		if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	l, err := Open(dir, domain, start().Add(time.Minute))
	if err != nil {
		t.Fatalf("after kill -9: %v", err)
	}
	defer l.Close() //nolint:errcheck // read only
	if last < 50 {
		t.Fatalf("the child redeemed %d tokens, want 50 at least", last+1)
	}
	for n := range last + 1 {
		if !l.Find(token(n).Name()).Used {
			t.Errorf("token %d, said to be used before kill -9, is not", n)
		}
	}
}
