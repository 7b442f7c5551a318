package xdswire

import (
	"bytes"
	"encoding/hex"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// requestBytes is a request with every field that is read, and two that are not.
func requestBytes(delta bool) []byte {
	node := AppendBytes(AppendVarint(nil, 9, 3), 1, "node-id")
	status := AppendBytes(AppendVarint(nil, 1, 13), 2, "no good")
	var b []byte
	if delta {
		b = AppendBytes(b, 1, node)
		b = AppendBytes(b, 2, "type")
		b = AppendBytes(b, 3, "a")
		b = AppendBytes(b, 3, "b")
		b = AppendBytes(b, 4, "c")
		b = AppendBytes(b, 6, "nonce")
		b = AppendBytes(b, 7, status)
		return append(b, 0x79, 1, 2, 3, 4, 5, 6, 7, 8) // field 15, 64 bits
	}
	b = AppendBytes(b, 1, "version")
	b = AppendBytes(b, 2, node)
	b = AppendBytes(b, 3, "a")
	b = AppendBytes(b, 3, "b")
	b = AppendBytes(b, 4, "type")
	b = AppendBytes(b, 5, "nonce")
	b = AppendBytes(b, 6, status)
	return append(b, 0x7d, 1, 2, 3, 4) // field 15, 32 bits
}

func TestDecodeRequest(t *testing.T) {
	for delta, want := range map[bool]Request{
		true: {
			NodeID: "node-id", TypeURL: "type", Names: []string{"a", "b"}, Unsubscribe: []string{"c"},
			Nonce: "nonce", Refused: "no good", IsRefusal: true,
		},
		false: {
			NodeID: "node-id", TypeURL: "type", Names: []string{"a", "b"}, Version: "version",
			Nonce: "nonce", Refused: "no good", IsRefusal: true,
		},
	} {
		got, err := DecodeRequest(requestBytes(delta), delta)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("delta %v: %v (-want +got):\n%s", delta, err, d)
		}
	}
}

// The wanted bytes are put together by hand from the field numbers of discovery.proto.
func TestEncodeResponse(t *testing.T) {
	r := Response{
		TypeURL: "t", Version: "v", Nonce: "n",
		Resources: []Resource{{Name: "r", Version: "1", Body: []byte("xy")}}, Removed: []string{"q"},
	}
	for delta, want := range map[bool]string{
		false: "0a0176" + "1207" + "0a0174" + "12027879" + "220174" + "2a016e",
		true:  "0a0176" + "120f" + "0a0131" + "1207" + "0a0174" + "12027879" + "1a0172" + "220174" + "2a016e" + "320171",
	} {
		if got := hex.EncodeToString(r.Encode(delta)); got != want {
			t.Errorf("delta %v: %s, want %s", delta, got, want)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add(requestBytes(true), true)
	f.Add(requestBytes(false), false)
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, false)
	f.Fuzz(func(t *testing.T, b []byte, delta bool) {
		r, err := DecodeRequest(b, delta)
		if err == nil && r.IsRefusal && r.Refused != "" && !bytes.Contains(b, []byte(r.Refused)) {
			t.Errorf("refusal %q is not in the input", r.Refused)
		}
	})
}

func TestRecvBounds(t *testing.T) {
	for name, in := range map[string][]byte{
		"compressed": {1, 0, 0, 0, 0},
		"too long":   {0, 0xff, 0, 0, 0},
		"cut short":  {0, 0, 0, 0, 9, 1},
	} {
		if b, err := (&Stream{in: bytes.NewReader(in)}).Recv(); err == nil || err == io.EOF {
			t.Errorf("%s: got %v, %v, want an error that is not EOF", name, b, err)
		}
	}
	if _, err := (&Stream{in: bytes.NewReader(nil)}).Recv(); err != io.EOF {
		t.Errorf("nothing: %v, want EOF", err)
	}
}
