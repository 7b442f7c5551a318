package cli

import (
	"os"

	"github.com/spf13/pflag"
)

// stateVariable names the state folder where no flag does.
const stateVariable = "OUTRIGGER_STATE"

// stateFlag adds --state, which overrides the variable.
func stateFlag(flags *pflag.FlagSet, to *string, help string) {
	def := defaultState
	if v := os.Getenv(stateVariable); v != "" {
		def = v
	}
	flags.StringVar(to, "state", def, help+" ("+stateVariable+")")
}
