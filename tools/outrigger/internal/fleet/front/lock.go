package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockName = "lock"
	lockPoll = 50 * time.Millisecond
	// lockPatience is how long the supervisor of a killed fleet may take to end.
	lockPatience = 5 * time.Second
)

// lock takes the lock of a state folder. It is held as long as the file, which the
// supervisor inherits, is open anywhere: also until the last process of a fleet
// that was killed has ended.
func lock(ctx context.Context, state string) (*os.File, error) {
	path := filepath.Join(state, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state folder: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, sign(file)
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock the state folder: %w", err), file.Close())
		}
		if holder, err := lockHolder(path); err == nil && holder != 0 && alive(holder) {
			return nil, errors.Join(taken(state, holder), file.Close())
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, errors.Join(taken(state, 0), file.Close())
		}
	}
}

// sign writes who holds the lock, for systems whose list of locks does not show
// the file under the number that it has elsewhere.
func sign(file *os.File) error {
	err := file.Truncate(0)
	if err == nil {
		_, err = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("lock the state folder: %w", err), file.Close())
	}
	return nil
}

func taken(state string, holder int) error {
	who := "another process"
	if holder != 0 {
		who = fmt.Sprintf("process %d", holder)
	}
	return &Refusal{
		Problem: fmt.Sprintf("a fleet runs already on %s, started by %s", state, who),
		Advice:  fmt.Sprintf("stop it with `outrigger down --state %s`, or name another folder with --state", state),
	}
}

func alive(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// lockHolder says who took the lock that is known to be held: as the kernel says,
// or as the holder itself wrote.
func lockHolder(path string) (int, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	status := info.Sys().(*syscall.Stat_t)
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(status.Dev), unix.Minor(status.Dev), status.Ino)
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return 0, err
	}
	defer locks.Close()
	lines := bufio.NewScanner(locks)
	for lines.Scan() {
		// 1: FLOCK  ADVISORY  WRITE 123 fd:01:4567 0 EOF
		fields := strings.Fields(lines.Text())
		if len(fields) >= 6 && fields[1] == "FLOCK" && fields[5] == want {
			return strconv.Atoi(fields[4])
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
