package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// askPatience bounds a request; stopping a process takes the longest.
const askPatience = 40 * time.Second

// Ask sends a request to the fleet of a state folder. An answer that says why the
// request was not carried out is an error.
func Ask(ctx context.Context, state string, request fleet.Request) (fleet.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	conn, err := Dial(ctx, state, fleet.ControlSocket)
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
		return fleet.Response{}, err
	}
	if err != nil {
		return fleet.Response{}, &Refusal{
			Problem: "no fleet answers on " + state, Cause: err,
			Advice: "start one with `outrigger up`, or name its state folder with --state",
		}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return fleet.Response{}, fmt.Errorf("ask the fleet: %w", err)
	}
	var response fleet.Response
	if err := json.NewDecoder(conn).Decode(&response); err != nil {
		return fleet.Response{}, fmt.Errorf("ask the fleet: %w", err)
	}
	if response.Error != "" {
		return response, errors.New(response.Error)
	}
	return response, nil
}
