package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// following waits for a revision and says what became of it, in words and as a document.
type following struct {
	s       streams
	client  pilotv1.ConfigServiceClient
	format  string
	timeout time.Duration
	words   words
	explain func(error) error // of what calls end with
}

// alone waits, and prints how that ended.
func (f following) alone(ctx context.Context, req *pilotv1.WaitRequest) error {
	end, err := f.wait(ctx, req)
	if end == nil || f.format == "table" {
		return err
	}
	text, wrong := endText(end)
	return errors.Join(err, wrong, printText(f.s.out, f.format, text))
}

// after waits for what an answer of pilot says was done. For a person print shows the answer
// before; a document holds both, and also how it ended if that is not known.
func (f following) after(ctx context.Context, answer proto.Message, req *pilotv1.WaitRequest, print func() error) error {
	if f.format == "table" {
		if err := print(); err != nil {
			return err
		}
		_, err := f.wait(ctx, req)
		return err
	}
	end, err := f.wait(ctx, req)
	if end == nil {
		err = &Exit{Code: exitFailure, Err: f.explain(err)} // the document has it
	}
	text, wrong := both(answer, end, err)
	if wrong == nil {
		wrong = printText(f.s.out, f.format, text)
	}
	return errors.Join(err, wrong)
}

// both makes one document of an answer and of how the wait for it ended.
func both(answer proto.Message, end *pilotv1.WaitResponse, err error) ([]byte, error) {
	text, wrong := protojson.Marshal(answer)
	if wrong != nil {
		return nil, wrong
	}
	doc := map[string]json.RawMessage{}
	if wrong := json.Unmarshal(text, &doc); wrong != nil {
		return nil, wrong
	}
	if end != nil {
		doc["wait"], wrong = endText(end)
	} else {
		doc["wait"], wrong = json.Marshal(map[string]string{"outcome": "UNKNOWN", "message": err.Error()})
	}
	if wrong != nil {
		return nil, wrong
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	wrong = enc.Encode(doc)
	return b.Bytes(), wrong
}

// endText is how a wait ended, with all that is to be known of it, zeros too.
func endText(end *pilotv1.WaitResponse) ([]byte, error) {
	return protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(end)
}

// wait follows a revision until its fate is decided, and says what became of it. The answer
// is nil if that is not known.
func (f following) wait(ctx context.Context, req *pilotv1.WaitRequest) (*pilotv1.WaitResponse, error) {
	req.Timeout = durationpb.New(f.timeout)
	ctx, cancel := context.WithTimeout(ctx, f.timeout+grace)
	defer cancel()
	began := time.Now()
	stream, err := f.client.Wait(ctx, req)
	if err != nil {
		return nil, err
	}
	slow := patience(f.s, "waiting for the proxies")
	defer slow.done()
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("pilot ended before the proxies were heard; wait again with `outrigger wait`")
		}
		if err != nil {
			return nil, err
		}
		if r.GetOutcome() == pilotv1.WaitResponse_OUTCOME_UNSPECIFIED {
			slow.say(fmt.Sprintf("waiting: %s %d of %d proxies", f.words.done, r.GetLive(), r.GetInterested()))
			continue
		}
		slow.done()
		return r, f.words.outcome(r, f.s, f.timeout, time.Since(began))
	}
}
