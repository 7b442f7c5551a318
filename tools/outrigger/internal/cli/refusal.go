package cli

import (
	"errors"
	"fmt"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// refusal is an error of which each reason has a place of its own. Main prints them.
type refusal struct{ problems []*pilotv1.Problem }

// Error is the last word after the list of mistakes.
func (r *refusal) Error() string {
	if len(r.problems) == 1 {
		return "refused, nothing was changed: see the line above"
	}
	return fmt.Sprintf("refused, nothing was changed: see the %d lines above", len(r.problems))
}

// answered writes why a verb that prints documents failed as a document, too: on standard
// output, where its answer would be. What decides its exit code itself has answered.
func answered(s streams, format string, err error) error {
	var exit *Exit
	if err == nil || format != "json" && format != "yaml" || errors.As(err, &exit) {
		return err
	}
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{[]*pilotv1.Problem{{Message: err.Error()}}}
		return errors.Join(err, printMessage(s.out, format, &pilotv1.Problems{Problems: r.problems}))
	}
	if err := printMessage(s.out, format, &pilotv1.Problems{Problems: r.problems}); err != nil {
		return err
	}
	return errors.New("refused, nothing was changed: the reasons are on standard output")
}
