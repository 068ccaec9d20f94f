package config_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/internal/config"
)

const examples = "../../deploy/examples/"

func TestTheExampleReplicasDifferInNameAndAddressOnly(t *testing.T) {
	files, err := filepath.Glob(examples + "core-*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("there are %d example files: %v", len(files), err)
	}
	names, urls := map[string]bool{}, map[string]bool{}
	var first config.Core
	for i, file := range files {
		core, err := config.LoadCore(file, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		names[core.Name], urls[core.API.Advertise] = true, true
		core.Name, core.API.Advertise = "", ""
		if i == 0 {
			first = core
		} else if diff := cmp.Diff(first, core); diff != "" {
			t.Errorf("%s differs from %s: %s", file, files[0], diff)
		}
	}
	if len(names) != len(files) || len(urls) != len(files) {
		t.Errorf("names %v, URLs %v", names, urls)
	}
}

func TestTheExampleAgentUsesTheEtcdOfTheExampleReplicas(t *testing.T) {
	agent, err := config.LoadAgent(examples+"repliagent.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	core, err := config.LoadCore(examples+"core-1.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(core.Etcd.Endpoints, agent.Etcd.Endpoints); diff != "" || core.Etcd.Prefix != agent.Etcd.Prefix {
		t.Errorf("the replicas' etcd is %v, the agent's %v", core.Etcd, agent.Etcd)
	}
	if len(agent.Actions) == 0 || agent.Probe == nil {
		t.Error("the example has no action or no probe")
	}
}
