package expr

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Decode reads params strictly into a new message of prototype's type: a field that it
// does not have, or a value that does not fit, is an error. Both spellings of names are
// taken.
func Decode(params *structpb.Struct, prototype proto.Message) (proto.Message, error) {
	out := prototype.ProtoReflect().New().Interface()
	if params == nil {
		return out, nil
	}
	text, err := protojson.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	if err := protojson.Unmarshal(text, out); err != nil {
		// protojson varies its spaces and gives positions in a text nobody wrote.
		msg := strings.ReplaceAll(err.Error(), "\u00a0", " ")
		msg = strings.TrimPrefix(msg, "proto: ")
		if strings.HasPrefix(msg, "(line ") {
			if _, rest, ok := strings.Cut(msg, "): "); ok {
				msg = rest
			}
		}
		return nil, fmt.Errorf("params: %s", msg)
	}
	return out, nil
}
