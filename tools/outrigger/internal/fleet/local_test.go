package fleet_test

import (
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// TestLocalFleet makes a plan of the fleet file that people use.
func TestLocalFleet(t *testing.T) {
	file, err := fleet.Load("../../../../deploy/local/fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := fleet.NewPlan(file, settings)
	if err != nil {
		t.Fatal(err)
	}
	users := map[uint32]string{}
	for _, process := range plan.Processes {
		if process.Kind != fleet.KindService {
			continue
		}
		if other, taken := users[process.UID]; taken {
			t.Errorf("%s and %s share uid %d", process.Name, other, process.UID)
		}
		users[process.UID] = process.Name
	}
	published := map[string]string{}
	for _, p := range plan.Publish {
		published[p.Name] = "127.0.0.1:1"
	}
	welcome, err := fleet.Greeting(file.Welcome, plan, published)
	if err != nil {
		t.Fatal(err)
	}
	if len(welcome.Try) != 3 {
		t.Errorf("%d things to try, want three", len(welcome.Try))
	}
	note := strings.Join(welcome.Notes, " ")
	for _, want := range []string{"/s/citadel-ca/authority.key", "protects copies of the sealed file only"} {
		if !strings.Contains(note, want) {
			t.Errorf("the note lacks %q: %s", want, note)
		}
	}
}
