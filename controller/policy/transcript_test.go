package policy_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

var update = flag.Bool("update", false, "write what happens into the transcripts")

// TestTranscripts plays the stories in testdata. A story begins with a comment, a playbook and the nodes; each line that begins with
// "> " is an input, and below it stands what the plan made of it: its events, what has to be done from then on, and how the
// run and its nodes are. -update writes what happens.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d stories, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("%s (-update writes it again):\n%s", file, diff)
			}
		})
	}
}

// story is a world that writes down what happens.
type story struct {
	*world
	out     strings.Builder
	written int               // events
	asked   map[string]string // by what they are for
	orders  map[string]string
}

// play plays the inputs of a story and returns its text with what happened.
func play(t *testing.T, text string) string {
	head, inputs, _ := strings.Cut(text, "\n> ")
	preamble, rest, _ := strings.Cut(head, "\nnodes: ")
	_, spec, _ := strings.Cut(preamble, "\nspec:\n")
	names := strings.Fields(rest)
	s := &story{world: newWorld(t, len(names), spec+"\n")}
	for _, word := range names {
		s.set(strings.Split(word, "/")...)
	}
	s.members(true)
	s.out.WriteString(strings.TrimRight(head, "\n") + "\n")
	for _, block := range strings.Split(inputs, "\n> ") {
		input, _, _ := strings.Cut(block, "\n")
		fmt.Fprintf(&s.out, "\n> %s\n", strings.TrimSpace(input))
		if comment := strings.Index(input, "  #"); comment >= 0 {
			input = input[:comment]
		}
		s.input(strings.Fields(input))
		s.describe()
	}
	return s.out.String()
}

// set changes what a node reports: its status, its role and its lag.
func (s *story) set(words ...string) {
	n := s.known[words[0]]
	if n.NodeID == "" {
		n = s.alive(words[0])
	}
	if len(words) > 1 {
		n.Status = record.Status(words[1])
	}
	if len(words) > 2 {
		n.Role = words[2]
	}
	if len(words) > 3 {
		lag, _ := strconv.ParseFloat(words[3], 64)
		n.Shards = []record.Shard{{ID: "s", Role: n.Role, Lag: &record.Lag{Value: lag, Unit: "s"}}}
	}
	if n.Status == record.StatusUnreachable {
		n.Role = ""
	}
	s.known[words[0]] = n
}

func (s *story) input(words []string) {
	s.t.Helper()
	switch verb, args := words[0], words[1:]; verb {
	case "admit":
		s.apply(policy.Admit{})
	case "facts": // agents answer everything that was asked
		s.observe()
	case "end":
		code := ""
		if len(args) > 2 {
			code = args[2]
		}
		s.end(args[0], record.ActionState(args[1]), code)
	case "pass":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			s.t.Fatalf("%v", err)
		}
		s.pass(d)
	case "node": // reports something else from now on
		s.set(args...)
	case "gone": // its key
		n := s.known[args[0]]
		n.Present = false
		s.known[args[0]] = n
		s.members(false, args[0])
	case "join", "back":
		n := s.alive(args[0])
		n.Role = s.known[args[0]].Role
		s.known[args[0]] = n
		s.apply(policy.Members{Present: []record.Node{n}})
	case "takeover":
		s.crash()
	case "locked": // by another run
		s.others[args[0]] = policy.Holder{RunID: "run-2"}
	case "unlocked":
		s.free(args[0])
	case "forget":
		s.apply(policy.Forgotten{Node: args[0], Actor: "op"})
	case "pause", "resume", "cancel":
		c := command(record.Verb(verb))
		c.Kill = slices.Contains(args, "kill")
		s.apply(c)
	case "approve", "reject": // the run's, or that of a stage
		c := command(record.Verb(verb))
		if c.Actor = "op"; len(args) > 0 {
			c.Stage = args[0]
		}
		s.apply(c)
		if s.rejected != nil {
			fmt.Fprintf(&s.out, "  rejected: %v\n", s.rejected)
		}
	case "retry": // all that can be, or the nodes that are named
		s.retry(args...)
		if s.rejected != nil {
			fmt.Fprintf(&s.out, "  rejected: %v\n", s.rejected)
		}
	case "resolve":
		s.resolved = true
		s.apply(policy.Command{Command: record.Command{Verb: record.VerbResolve, Node: args[0], State: record.NodeState(args[1])}, Actor: "op"})
	case "work": // everything goes well from now on
		s.work()
	default:
		s.t.Fatalf("there is no input %q", verb)
	}
}

func (s *story) at(t time.Time) string {
	return t.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).String()
}

// describe writes what has changed.
func (s *story) describe() {
	for _, e := range s.events[s.written:] {
		fmt.Fprintf(&s.out, "  %s\n", strings.TrimSuffix(eventLine(e, s.at), " "))
	}
	s.written = len(s.events)
	orders, asked := map[string]string{}, map[string]string{}
	for node, o := range s.world.orders {
		what := fmt.Sprintf("run %s/%s, attempt %d", o.Action.Stage, o.Action.Step, o.Action.Attempt)
		if o.Stop != "" {
			what = fmt.Sprintf("stop %s/%s: %s", o.Action.Stage, o.Action.Step, o.Stop)
		}
		orders["node "+node] = what
	}
	for key, request := range s.world.asked {
		nodes := strings.Join(request.Nodes, " ")
		if request.All {
			nodes = "all nodes"
		}
		asked["facts for "+purposes[key.Purpose]+" of"] = nodes
	}
	s.changes(s.orders, orders, "→ ")
	s.changes(s.asked, asked, "? ")
	s.orders, s.asked = orders, asked
	fmt.Fprintf(&s.out, "  = %s", s.run.State)
	if s.run.Outcome != "" && !s.run.State.Final() {
		fmt.Fprintf(&s.out, ", will end %s", s.run.Outcome)
	}
	if s.run.EndTS != nil {
		fmt.Fprintf(&s.out, ", ended at %s", s.at(*s.run.EndTS))
	}
	if s.run.FinishTS != nil {
		fmt.Fprintf(&s.out, ", finished at %s", s.at(*s.run.FinishTS))
	}
	for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
		n := s.nodes[name]
		fmt.Fprintf(&s.out, "  %s %s", name, n.State)
		if n.State == record.NodeRunning {
			fmt.Fprintf(&s.out, "(%s)", n.Stages[len(n.Stages)-1].State)
		}
	}
	if s.wake != nil {
		fmt.Fprintf(&s.out, "  wake at %s", s.at(*s.wake))
	}
	s.out.WriteString("\n")
}

var purposes = map[policy.FactPurpose]string{policy.ForTargets: "the targets", policy.ForSelection: "the next batch", policy.ForGate: "the health",
	policy.ForStep: "the step", policy.ForVerifying: "the unknown step", policy.ForRemoval: "the removal", policy.ForSubset: "the newcomers"}

func (s *story) changes(before, after map[string]string, mark string) {
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if before[key] != after[key] {
			fmt.Fprintf(&s.out, "  %s%s: %s\n", mark, key, after[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, still := after[key]; !still {
			fmt.Fprintf(&s.out, "  %s%s: nothing\n", mark, key)
		}
	}
}

// eventLine is an event in one line. Times are since the beginning.
func eventLine(e record.Event, at func(time.Time) string) string {
	line := string(e.Type)
	for _, word := range []string{e.Node, e.Stage, e.Step} {
		if word != "" {
			line += " " + word
		}
	}
	for _, key := range []string{"pass", "pass_number", "batch", "nodes", "attempt", "state", "code", "message", "for", "until", "next_ts"} {
		value, ok := e.Data[key]
		if !ok {
			continue
		}
		if moment, err := time.Parse(time.RFC3339Nano, fmt.Sprint(value)); err == nil {
			value = at(moment)
		}
		line += fmt.Sprintf(" %s=%v", key, value)
	}
	return line
}
