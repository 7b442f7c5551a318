package expr

import (
	"errors"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/proto/decode"
)

// noise is the position in a text that nobody wrote, with spaces that vary on purpose.
var noise = regexp.MustCompile(`proto:[\s\x{a0}]*(syntax error )?(\(line \d+:\d+\):[\s\x{a0}]*)?`)

// Decode reads params strictly into a new message of prototype's type: a field that it
// does not have, or a value that does not fit, is an error. Both spellings of names are
// taken.
func Decode(params *structpb.Struct, prototype proto.Message) (proto.Message, error) {
	out := prototype.ProtoReflect().New().Interface()
	if err := decode.Params(params, out); err != nil {
		return nil, errors.New(strings.ReplaceAll(noise.ReplaceAllString(err.Error(), ""), "\u00a0", " "))
	}
	return out, nil
}
