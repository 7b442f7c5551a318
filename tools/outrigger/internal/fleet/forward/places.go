package forward

import "fmt"

const (
	// maxPlaces is how many connections one door carries at most.
	maxPlaces = 1024
	// minPlaces is with how few a door is of use: a browser alone opens six.
	minPlaces = 16
	// descriptors are what one connection needs: two sides, and a pipe each way
	// through which the kernel moves the bytes.
	descriptors = 6
)

// Places is how many connections each of a process's doors may have open, so that
// with all places taken the process still has reserve descriptors for everything
// else. limit is how many it may have open in all. Too few to work with are an
// error.
func Places(limit uint64, doors, reserve int) (int, error) {
	doors = max(doors, 1)
	need := uint64(reserve + minPlaces*doors*descriptors)
	if limit < need {
		return 0, fmt.Errorf("a process may have %d files open, and %d are needed", limit, need)
	}
	places := (limit - uint64(reserve)) / uint64(doors*descriptors)
	return int(min(places, maxPlaces)), nil //nolint:gosec // it is small
}
