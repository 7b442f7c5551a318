package cli

import (
	"fmt"
	"io"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// problemLine is file:line:col: Kind ns/name: field: message, without what is not known.
func problemLine(p *pilotv1.Problem) string {
	out := ""
	if p.GetFile() != "" {
		out = p.GetFile() + ":"
		if p.GetLine() > 0 {
			out += fmt.Sprintf("%d:", p.GetLine())
			if p.GetColumn() > 0 {
				out += fmt.Sprintf("%d:", p.GetColumn())
			}
		}
		out += " "
	}
	for _, part := range []string{p.GetObject(), p.GetField()} {
		if part != "" {
			out += part + ": "
		}
	}
	return visible(out + p.GetMessage())
}

func printProblems(out io.Writer, problems []*pilotv1.Problem) {
	for _, p := range problems {
		fmt.Fprintln(out, problemLine(p))
	}
}
