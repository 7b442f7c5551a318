package xdswire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Stream is the server's side of one gRPC call with streams both ways. Recv and Send
// may be used by one goroutine each.
type Stream struct {
	in      io.Reader
	out     http.ResponseWriter
	flusher http.Flusher
}

// maxMessage bounds one message from a client.
const maxMessage = 1 << 20

// Accept answers the header of a gRPC call. A request that is not one gets status 415
// and an error.
func Accept(w http.ResponseWriter, r *http.Request) (*Stream, error) {
	f, ok := w.(http.Flusher)
	if r.ProtoMajor != 2 || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/grpc" || !ok {
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return nil, errors.New("not a gRPC call")
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.WriteHeader(http.StatusOK)
	f.Flush()
	return &Stream{in: r.Body, out: w, flusher: f}, nil
}

// Recv returns the next message, io.EOF when the client has no more.
func (s *Stream) Recv() ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return nil, err // io.EOF is the contract
	}
	size := binary.BigEndian.Uint32(head[1:])
	if head[0] != 0 || size > maxMessage {
		return nil, fmt.Errorf("gRPC message: flags %d, %d bytes: want no compression and at most %d bytes", head[0], size, maxMessage)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(s.in, b); err != nil {
		return nil, fmt.Errorf("gRPC message: %w", err)
	}
	return b, nil
}

// Send writes one message.
func (s *Stream) Send(m []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 1, 5+len(m)), uint32(len(m)))
	if _, err := s.out.Write(append(b, m...)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	s.flusher.Flush()
	return nil
}

// End writes the call's status as trailers; nothing may be sent after. code is a gRPC
// status code, 0 for success.
func (s *Stream) End(code int, message string) {
	s.out.Header().Set(http.TrailerPrefix+"Grpc-Status", fmt.Sprint(code))
	if message != "" {
		s.out.Header().Set(http.TrailerPrefix+"Grpc-Message", message)
	}
}
