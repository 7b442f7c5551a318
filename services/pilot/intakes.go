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
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/status"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// intakes are the ways in: the API's and the watched folders'.
type intakes struct {
	desk    *intake.Intake
	folders *folder.Folders
}

func newIntake(cfg Config, p parsed, b *buses, tel *telemetry.Telemetry) *intakes {
	ingress := p.gateways[translate.Ingress]
	desk := intake.New(intake.Config{
		Settings: ingest.Settings{
			Domain: cfg.Mesh.Domain, Addresses: p.addresses, Ingress: model.HostName(ingress.Account(), ingress.Namespace(), cfg.Mesh.Domain),
		},
		Now: time.Now, Keeps: p.folders.Keep,
	}, b.config)
	return &intakes{desk: desk, folders: folder.New(folder.Config{Dirs: p.folders}, desk, tel.Log)}
}

func (in *intakes) api(w *status.Waiter) pilotv1.ConfigServiceServer {
	return api.NewServer(in.desk, w)
}

// problems lists what is wrong with the watched files.
func (in *intakes) problems() []*pilotv1.Problem { return in.folders.Problems() }

func (in *intakes) add(g *run.Group) { g.Add("folders", in.folders.Run) }
