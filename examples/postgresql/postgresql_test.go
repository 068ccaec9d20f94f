//go:build integration

// Package postgresql_test follows the example as a user would, while clients write and the control plane is killed.
package postgresql_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/example"
)

func TestThePlaybooksLoseNoWriteWhileTheControlPlaneIsKilled(t *testing.T) {
	x := start(t)
	writer := x.write()

	x.Start("rolling-restart.yaml", "postgresql-rolling-restart", nil)
	x.KillInAction("restart")
	x.Done(2)
	if last := x.last(); last != "pg-1" {
		t.Errorf("the primary is pg-1, and the last restart was that of %s", last)
	}

	x.Start("switchover.yaml", "postgresql-switchover", nil)
	x.KillInAction("promote")
	x.Done(3)
	primary := x.primary()
	if primary == "pg-1" || x.last() != "pg-1" {
		t.Errorf("pg-1 was the primary; %s is it now, and the last that was acted on is %s", primary, x.last())
	}

	directory := filepath.Join(x.Dir, "pg-1")
	x.Script("stop-server.sh", directory)
	if err := os.RemoveAll(filepath.Join(directory, "data")); err != nil {
		t.Fatal(err)
	}
	x.Start("rejoin.yaml", "postgresql-rejoin", record.Document{"server": "pg-1"})
	x.KillInAction("rejoin")
	x.Done(4)
	if now := x.primary(); now != primary {
		t.Errorf("%s was the primary, and now %s is", primary, now)
	}
	x.check(writer.Stop(t))
}

type installation struct {
	*example.Example
	ports []string
}

func start(t *testing.T) installation {
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin") // where Debian has them
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", strings.Join(append(programs, os.Getenv("PATH")), ":"))
	testenv.Program(t, "postgresql", "postgres")
	ports := example.Ports(t, 3)
	x := installation{example.New(t, "postgresql", 3, "PORTS="+ports), strings.Fields(ports)}
	if _, err := x.sql(t.Context(), "", "CREATE TABLE written (value int PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	return x
}

// write has a client write values to the primary, wherever it is.
func (x installation) write() *example.Writer {
	return example.StartWriter(x.T, func(ctx context.Context, value int) error {
		_, err := x.sql(ctx, "", fmt.Sprintf("INSERT INTO written VALUES (%d)", value))
		return err
	})
}

// sql runs a statement on the server with a port, or, where there is none, on the one that can be written to.
func (x installation) sql(ctx context.Context, port, statement string) (string, error) {
	target := "host=127.0.0.1 port=" + port
	if port == "" {
		target = "host=127.0.0.1,127.0.0.1,127.0.0.1 port=" + strings.Join(x.ports, ",") + " target_session_attrs=read-write"
	}
	out, err := exec.CommandContext(ctx, "psql", "-XAtq", "-c", statement, target+" user=postgres dbname=postgres connect_timeout=2").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", statement, err, out)
	}
	return string(out), err
}

// last is the node on which the run's latest action started.
func (x installation) last() string {
	x.T.Helper()
	var last string
	var latest record.Action
	for _, n := range x.Nodes() {
		for _, a := range n.Actions {
			if a.StartTS.After(latest.StartTS) {
				latest, last = a, n.Node
			}
		}
	}
	return last
}

// primary is the only server that can be written to.
func (x installation) primary() string {
	x.T.Helper()
	var found []string
	for i, port := range x.ports {
		replica, err := x.sql(x.T.Context(), port, "SELECT pg_is_in_recovery()")
		if err != nil {
			x.T.Fatal(err)
		}
		if strings.TrimSpace(replica) == "f" {
			found = append(found, "pg-"+strconv.Itoa(i+1))
		}
	}
	if len(found) != 1 {
		x.T.Fatalf("primaries: %v", found)
	}
	return found[0]
}

// check checks that each server has all acknowledged values.
func (x installation) check(acknowledged []int) {
	x.T.Helper()
	for i, port := range x.ports {
		x.Await(fmt.Sprintf("pg-%d to have all acknowledged values", i+1), func() error {
			out, err := x.sql(x.T.Context(), port, "SELECT value FROM written")
			if err != nil {
				return err
			}
			there := map[string]bool{}
			for _, value := range strings.Fields(out) {
				there[value] = true
			}
			for _, value := range acknowledged {
				if !there[strconv.Itoa(value)] {
					return fmt.Errorf("it lacks %d", value)
				}
			}
			return nil
		})
	}
}
