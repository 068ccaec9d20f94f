package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

// lastRun names the newest run, of the cluster in the settings if there is one.
const lastRun = "last"

// runID is the id of the run that a person names: by its id, a unique beginning of one, or last.
func (t *tool) runID(ctx context.Context, c *client.Client, name string) (string, error) {
	if uuid.Validate(name) == nil {
		return name, nil
	}
	filter := client.RunFilter{}
	if name == lastRun {
		filter.Cluster, filter.Limit = t.settings.cluster, 1
	}
	runs, err := c.Runs(ctx, filter)
	if err != nil {
		return "", err
	}
	if name == lastRun {
		if len(runs) == 0 {
			return "", noRun("there is no run" + ofCluster(t.settings.cluster))
		}
		return runs[0].ID, nil
	}
	found := []string{}
	for i := range runs {
		if runs[i].ID == name {
			return name, nil
		}
		if name != "" && strings.HasPrefix(runs[i].ID, strings.ToLower(name)) {
			found = append(found, runs[i].ID)
		}
	}
	switch len(found) {
	case 0:
		return "", noRun(fmt.Sprintf("there is no run whose id is or begins with %q", name))
	case 1:
		return found[0], nil
	}
	return "", usagef("%q is the beginning of the ids of %d runs: %s; write more of the one that you mean", name, len(found), list(found))
}

func ofCluster(cluster string) string {
	if cluster == "" {
		return ""
	}
	return " of cluster " + cluster
}

func noRun(message string) error {
	return &client.Error{Status: http.StatusNotFound, Code: notFound, Message: message}
}

// withRun calls do with a client and the id of the run that a person names.
func (t *tool) withRun(ctx context.Context, name string, do func(c *client.Client, runID string) error) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	id, err := t.runID(ctx, c, name)
	if err != nil {
		return err
	}
	return do(c, id)
}

// openStates are the states of runs that have not ended.
func openStates() []string {
	states := []string{}
	for _, state := range record.RunStates {
		if !state.Final() {
			states = append(states, string(state))
		}
	}
	return states
}
