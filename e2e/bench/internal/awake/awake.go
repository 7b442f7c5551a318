// Package awake keeps the processors from going to sleep while something is measured. A
// sleeping processor of a virtual machine is given to other machines and comes back when
// those let it: whatever wakes it waits for milliseconds. In: nothing. Out: nothing.
package awake

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// device takes how long a waking processor may need, in microseconds, for as long as
// it is open (Documentation/power/pm_qos_interface.rst of Linux).
const device = "/dev/cpu_dma_latency"

// Keep lets idle processors wait without sleeping until stop is called, or the process
// ends. Where the kernel has no such setting, or only for root, nothing is done.
func Keep() (stop func() error, err error) {
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return func() error { return nil }, nil
	}
	if err == nil {
		_, err = f.Write(make([]byte, 4))
	}
	if err != nil {
		return nil, fmt.Errorf("keep the processors awake: %w", err)
	}
	return f.Close, nil
}
