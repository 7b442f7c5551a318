package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
)

// oneValue is JSON of which a body has one value and nothing after it. The gateway's own
// takes the first value and leaves the rest unread.
type oneValue struct{ *runtime.JSONPb }

// NewDecoder returns a decoder of one value.
func (m oneValue) NewDecoder(r io.Reader) runtime.Decoder {
	d := runtime.DecoderWrapper{Decoder: json.NewDecoder(r), UnmarshalOptions: m.UnmarshalOptions}
	return runtime.DecoderFunc(func(v any) error {
		if err := d.Decode(v); err != nil {
			return err
		}
		end := d.InputOffset()
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("the body goes on after its JSON value, which ends at byte %d: one value is taken", end)
		}
		return nil
	})
}

// misrouted answers what no operation is for.
func (o operations) misrouted(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, status int) {
	methods := strings.Join(o.methods(r.URL.Path), ", ")
	if status != http.StatusMethodNotAllowed || methods == "" {
		runtime.DefaultRoutingErrorHandler(ctx, mux, m, w, r, status)
		return
	}
	w.Header().Set("Allow", methods)
	refuse(w, status, codes.Unimplemented, fmt.Sprintf("%s is not taken here; there is %s", r.Method, methods))
}
