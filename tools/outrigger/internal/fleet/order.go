package fleet

import (
	"fmt"
	"slices"
	"strings"
)

// Levels orders processes so that each comes in a later level than what it
// waits for. Within a level the order is that of the input. A circle is a
// mistake, reported with the names in it.
func Levels(processes []Process) ([][]Process, error) {
	placed := map[string]bool{}
	rest := slices.Clone(processes)
	var levels [][]Process
	for len(rest) > 0 {
		var level, later []Process
		for _, process := range rest {
			if all(process.After, placed) {
				level = append(level, process)
			} else {
				later = append(later, process)
			}
		}
		if len(level) == 0 {
			return nil, fmt.Errorf("after: these wait for each other: %s", strings.Join(names(later), ", "))
		}
		for _, process := range level {
			placed[process.Name] = true
		}
		levels, rest = append(levels, level), later
	}
	return levels, nil
}

// StopOrder returns the processes in the order in which they are to be stopped,
// those of one step together: the workloads, then the services, each before what
// it waited for.
func StopOrder(processes []Process) ([][]Process, error) {
	levels, err := Levels(processes)
	if err != nil {
		return nil, err
	}
	var steps [][]Process
	var workloads []Process
	for _, level := range slices.Backward(levels) {
		var services []Process
		for _, process := range level {
			if process.Kind == KindService {
				services = append(services, process)
			} else {
				workloads = append(workloads, process)
			}
		}
		if len(services) > 0 {
			steps = append(steps, services)
		}
	}
	if len(workloads) > 0 {
		steps = slices.Insert(steps, 0, workloads)
	}
	return steps, nil
}

func all(names []string, in map[string]bool) bool {
	for _, name := range names {
		if !in[name] {
			return false
		}
	}
	return true
}

func names(processes []Process) []string {
	list := make([]string, 0, len(processes))
	for _, process := range processes {
		list = append(list, process.Name)
	}
	return list
}
