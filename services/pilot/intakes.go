package pilot

import (
	"time"

	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/api"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/folder"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/status"
)

// intakes are the ways in: the API's and the watched folders'.
type intakes struct {
	desk    *intake.Intake
	folders []*folder.Folder
}

func newIntake(cfg Config, p parsed, b *buses, tel *telemetry.Telemetry) (*intakes, error) {
	in := &intakes{desk: intake.New(intake.Config{
		Settings: ingest.Settings{Domain: cfg.Mesh.Domain, Addresses: p.addresses}, Now: time.Now,
	}, b.config)}
	for _, dir := range cfg.Folders {
		f, err := folder.New(folder.Config{Dir: dir}, in.desk, tel.Log)
		if err != nil {
			return nil, err
		}
		in.folders = append(in.folders, f)
	}
	return in, nil
}

func (in *intakes) api(w *status.Waiter) pilotv1.ConfigServiceServer {
	return api.NewServer(in.desk, w)
}

// problems lists what is wrong with the watched files.
func (in *intakes) problems() []*pilotv1.Problem {
	var out []*pilotv1.Problem
	for _, f := range in.folders {
		out = append(out, f.Problems()...)
	}
	return out
}

func (in *intakes) add(g *run.Group) {
	for _, f := range in.folders {
		g.Add("folder", f.Run)
	}
}
