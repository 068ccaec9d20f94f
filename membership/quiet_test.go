package membership

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// TestAChangingAttributeCostsNoWritePerProbe: another status or role is written at once, anything else at most once a minute.
func TestAChangingAttributeCostsNoWritePerProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := Node{NodeID: "n", ClusterID: "c", JournalID: "j", Status: "HEALTHY", Role: "SECONDARY"}
		r := NewRegistrar(RegistrarConfig{Node: Node{NodeID: "n", ClusterID: "c", JournalID: "j"}, Log: hclog.NewNullLogger()})
		writes := 0
		written := func() Node { // as the registration writes it once it is told
			t.Helper()
			synctest.Wait()
			select {
			case <-r.updated:
				writes++
			default:
			}
			var n Node
			if value, err := r.value(); err != nil || json.Unmarshal(value, &n) != nil {
				t.Fatal(err)
			}
			return n
		}
		probe := func(lag float64, status, role string) Node {
			node.Status, node.Role = status, role
			node.Shards = []Shard{{ID: "s", Lag: &Lag{Value: lag, Unit: "s"}}}
			r.Update(node)
			return written()
		}
		if got := probe(0, "HEALTHY", "SECONDARY"); got.Status != "HEALTHY" || writes != 1 {
			t.Fatalf("the first facts: %+v after %d writes", got, writes)
		}
		begun := time.Now()
		for i := range 120 { // ten minutes
			time.Sleep(5 * time.Second)
			probe(float64(i), "HEALTHY", "SECONDARY")
		}
		if minutes := int(time.Since(begun) / time.Minute); writes > 1+minutes {
			t.Errorf("%d writes in %d minutes", writes, minutes)
		}
		for i, change := range [][2]string{{"UNHEALTHY", "SECONDARY"}, {"UNHEALTHY", "PRIMARY"}, {"HEALTHY", "PRIMARY"}} {
			before := writes
			if got := probe(1000+float64(i), change[0], change[1]); got.Status != change[0] || got.Role != change[1] || got.Shards[0].Lag.Value != 1000+float64(i) || writes != before+1 {
				t.Errorf("%v: %+v after %d writes", change, got, writes-before)
			}
		}
		probe(7, "HEALTHY", "PRIMARY")
		if got := written(); got.Shards[0].Lag.Value != 1002 {
			t.Errorf("another lag was written at once: %+v", got)
		}
		time.Sleep(quietPeriod)
		if got := written(); got.Shards[0].Lag.Value != 7 {
			t.Errorf("the last lag was never written: %+v", got)
		}
	})
}
