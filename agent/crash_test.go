package agent_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/agent/wire"
)

// dataDirVariable makes the test binary an agent with its data in that directory.
const dataDirVariable = "AGENT_TEST_DIR"

// noCgroups tells such an agent to use no cgroups.
const noCgroups = "AGENT_TEST_NO_CGROUPS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(dataDirVariable); dir != "" {
		if err := live(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		_ = checks.Value.Set("6") // each starts several processes
	}
	os.Exit(m.Run())
}

// live is an agent as a process. Its actions write their ID and process to the file starts.
func live(dir string) error {
	starts := filepath.Join(dir, "starts")
	mark := `echo "$REPLICANTE_ACTION_ID $$" >>` + starts + `; `
	if os.Getenv(noCgroups) != "" {
		agent.DisableCgroups()
	}
	reaper, err := agent.NewReaper()
	if err != nil {
		return err
	}
	go func() { _ = reaper.Run(context.Background()) }()
	a := agent.New(agent.Config{NodeID: "n1", ClusterID: "c1", DataDir: filepath.Join(dir, "data"), KillGrace: 200 * time.Millisecond,
		Reaper: reaper,
		Actions: map[string]agent.Command{
			"quick": sh(mark + "exit 0"),
			"short": sh(mark + "sleep 0.03"),
			"hang":  sh(mark + "sleep 1000 & sleep 1000"),
			"hide":  sh(`setsid sh -c '` + mark + `sleep 1000; true' & (env -i sh -c 'echo "child $$" >>` + starts + `; sleep 1000; true') & ` + mark + `wait`),
			// The process that is started has neither the session nor the environment nor the parent of the action.
			"escape":  sh(`(setsid setsid env -i /bin/sh -c 'echo "child $$" >>` + starts + `; sleep 1000; true' &); ` + mark + `sleep 1000`),
			"orphans": sh(`for i in $(seq 50); do (sleep 0.05 &); done; ` + mark),
			"log":     sh(mark + `until [ -e ` + dir + `/go ]; do sleep 0.01; done; echo one; echo two >&2; echo "child $$" >>` + starts + `; sleep 1000`),
			"deaf":    sh(`trap '' TERM; ` + mark + `while :; do sleep 0.1; done`),
		}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, a.Handler()) }()
	go func() {
		<-a.Ready()
		fmt.Println("http://" + listener.Addr().String())
	}()
	return a.Run(context.Background())
}

// agentProcess is an agent in a process of its own.
type agentProcess struct {
	t       fataler
	dir     string
	command *exec.Cmd
	url     string
	*client.Client
}

type fataler interface {
	Helper()
	Fatal(...any)
}

func launch(t fataler, dir string) *agentProcess {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), dataDirVariable+"="+dir)
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal("the agent did not become ready: ", err)
	}
	return &agentProcess{t: t, dir: dir, command: command, url: strings.TrimSpace(url), Client: client.New(client.Config{})}
}

// crash ends the agent, and nothing that it runs, as kill -9 does.
func (l *agentProcess) crash() {
	_ = l.command.Process.Kill()
	_ = l.command.Wait()
	l.Close()
}

func (l *agentProcess) post(kind string) string {
	l.t.Helper()
	id := uuid.NewString()
	if _, err := l.Post(context.Background(), l.url, request(id, external+kind, "", nil), 0); err != nil {
		l.t.Fatal(err)
	}
	return id
}

func (l *agentProcess) state(id string) wire.State {
	l.t.Helper()
	action, err := l.Get(context.Background(), l.url, id, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	return action.State
}

// starts reads which actions were started how often, and which processes they had.
func starts(dir string) (counts map[string]int, processes []string) {
	raw, _ := os.ReadFile(filepath.Join(dir, "starts"))
	counts = map[string]int{}
	for line := range strings.Lines(string(raw)) {
		id, pid, _ := strings.Cut(strings.TrimSpace(line), " ")
		counts[id]++
		processes = append(processes, pid)
	}
	return counts, processes
}

func kill(t fataler, pid string) {
	t.Helper()
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(number, syscall.SIGKILL)
}

func TestAnAgentThatWasKilledStopsWhatRanAndReportsWhatWasLost(t *testing.T) {
	kinds := []string{"hang", "hide", "deaf"}
	if agent.HasCgroups(t.TempDir()) {
		kinds = append(kinds, "escape")
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := launch(t, dir)
			running, queued, second := l.post(kind), l.post("quick"), l.post("quick")
			want := map[string]int{"hang": 1, "hide": 3, "deaf": 1, "escape": 2}[kind]
			eventually(t, "the action runs", func() bool { _, pids := starts(dir); return len(pids) == want })
			l.crash()
			_, pids := starts(dir)
			for _, pid := range pids {
				if !alive(pid) {
					t.Fatal("the crash of the agent ended its action; the test shows nothing")
				}
			}
			l = launch(t, dir)
			defer l.crash()
			for _, pid := range pids {
				if alive(pid) {
					t.Errorf("process %s of the earlier agent process still runs", pid)
					kill(t, pid)
				}
			}
			if state := l.state(running); state.Phase != wire.PhaseFailed || code(state) != wire.CodeLost {
				t.Errorf("what ran: %+v", state)
			}
			for _, id := range []string{queued, second} {
				if state := l.state(id); state.Phase != wire.PhaseFailed || code(state) != wire.CodeNeverStarted {
					t.Errorf("what was queued: %+v", state)
				}
			}
			if _, err := l.Post(t.Context(), l.url, request(queued, external+"quick", "", nil), 0); !errors.Is(err, wire.ErrExists) {
				t.Errorf("what was queued is posted again: %v", err)
			}
		})
	}
}

func TestNoProcessOfAnActionOutlivesItsTimeout(t *testing.T) {
	for _, without := range []string{"", "1"} {
		t.Run("cgroups off: "+without, func(t *testing.T) {
			t.Setenv(noCgroups, without)
			dir := t.TempDir()
			l := launch(t, dir)
			defer l.crash()
			id := l.post("escape")
			eventually(t, "both processes run", func() bool { _, pids := starts(dir); return len(pids) == 2 })
			answer, err := l.Cancel(t.Context(), l.url, id, wire.CancelRequest{Kill: true, Code: wire.CodeTimeout})
			if err != nil || code(answer.State) != wire.CodeTimeout {
				t.Errorf("%+v, %v", answer, err)
			}
			_, pids := starts(dir)
			for _, pid := range pids {
				if alive(pid) {
					t.Errorf("process %s outlived the action", pid)
					kill(t, pid)
				}
			}
		})
	}
}

func TestWhatAnActionLeavesBehindIsReaped(t *testing.T) {
	l := launch(t, t.TempDir())
	defer l.crash()
	id := l.post("orphans")
	if action, err := l.Get(t.Context(), l.url, id, 30*time.Second); err != nil || action.State.Phase != wire.PhaseDone {
		t.Errorf("%+v, %v", action, err)
	}
	eventually(t, "the agent has no child", func() bool {
		var children string
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", l.command.Process.Pid))
		for _, path := range tasks {
			raw, _ := os.ReadFile(path)
			children += string(raw)
		}
		return len(tasks) > 0 && strings.TrimSpace(children) == ""
	})
}

func TestACommandSurvivesTheDeathOfItsAgentAlthoughItWritesLogs(t *testing.T) {
	dir := t.TempDir()
	l := launch(t, dir)
	id := l.post("log")
	eventually(t, "the command runs", func() bool { counts, _ := starts(dir); return counts[id] == 1 })
	l.crash()
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command has written to its log", func() bool { counts, _ := starts(dir); return counts["child"] == 1 })
	l = launch(t, dir)
	defer l.crash()
	_, pids := starts(dir)
	if alive(pids[0]) || code(l.state(id)) != wire.CodeLost {
		t.Errorf("the command was not stopped by the next agent: %+v", l.state(id))
	}
}

func TestCloseStopsTheRunningAction(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "pid")
	cfg := agent.Config{DataDir: dir, Actions: map[string]agent.Command{"hang": sh("echo $$ >" + file + "; exec sleep 1000")}}
	s := serve(t, cfg)
	running, queued := s.post(external+"hang", "", nil), s.post(wire.KindSuccess, "", nil)
	eventually(t, "the action runs", fileHolds(file, "\n"))
	if err := s.agent.Close(); err != nil {
		t.Fatal(err)
	}
	if alive(pids(t, file)[0]) {
		t.Error("the command still runs")
	}
	s = serve(t, cfg)
	if state := s.end(running); code(state) != wire.CodeLost {
		t.Errorf("what ran: %+v", state)
	}
	if state := s.end(queued); code(state) != wire.CodeNeverStarted {
		t.Errorf("what was queued: %+v", state)
	}
}

// TestAnActionNeverStartsTwice posts, posts again, cancels and crashes in any order.
func TestAnActionNeverStartsTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "agent")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		l := launch(t, dir)
		defer func() { l.crash() }()
		var known []string             // every ID that a POST or cancel named
		forbidden := map[string]bool{} // cancelled before any POST
		ended := map[string]wire.State{}
		check := func() {
			counts, _ := starts(dir)
			for id, n := range counts {
				if n > 1 {
					t.Fatalf("action %s was started %d times", id, n)
				}
				if forbidden[id] {
					t.Fatalf("action %s was started after its cancel", id)
				}
			}
		}
		kinds := rapid.SampledFrom([]string{"quick", "short", "hang"})
		post := func(id, kind string) error {
			_, err := l.Post(ctx, l.url, request(id, external+kind, "", nil), 0)
			return err
		}
		fresh := func() string {
			id := uuid.NewString()
			known = append(known, id)
			return id
		}
		restart := func() {
			l.crash()
			_, before := starts(dir)
			l = launch(t, dir)
			for _, pid := range before {
				if alive(pid) {
					t.Fatalf("process %s outlived the restart", pid)
				}
			}
			for _, id := range known {
				action, err := l.Get(ctx, l.url, id, 0)
				if errors.Is(err, wire.ErrNotFound) {
					if _, reported := ended[id]; reported {
						t.Fatalf("action %s is forgotten", id)
					}
					continue
				}
				if err != nil || !action.State.Phase.Ended() {
					t.Fatalf("after a restart action %s is %+v, %v", id, action.State, err)
				}
				if reported, ok := ended[id]; ok && (reported.Phase != action.State.Phase || code(reported) != code(action.State)) {
					t.Fatalf("action %s had ended %+v, and is now %+v", id, reported, action.State)
				}
				counts, _ := starts(dir)
				if code(action.State) == wire.CodeNeverStarted && counts[id] != 0 || action.State.Phase == wire.PhaseDone && counts[id] != 1 {
					t.Fatalf("action %s ended %+v and was started %d times", id, action.State, counts[id])
				}
				ended[id] = action.State
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"post": func(t *rapid.T) {
				if err := post(fresh(), kinds.Draw(t, "kind")); err != nil {
					t.Fatal(err)
				}
			},
			"again": func(t *rapid.T) {
				if len(known) == 0 {
					t.Skip()
				}
				id := rapid.SampledFrom(known).Draw(t, "id")
				if err := post(id, "quick"); err == nil {
					if _, reported := ended[id]; reported || forbidden[id] {
						t.Fatalf("action %s was accepted again", id)
					}
				} else if !errors.Is(err, wire.ErrExists) {
					t.Fatal(err)
				}
			},
			"cancel": func(t *rapid.T) {
				id := ""
				if len(known) > 0 && rapid.Bool().Draw(t, "known") {
					id = rapid.SampledFrom(known).Draw(t, "id")
				} else {
					id = fresh()
					forbidden[id] = true
				}
				answer, err := l.Cancel(ctx, l.url, id, wire.CancelRequest{Kill: rapid.Bool().Draw(t, "kill")})
				if err != nil {
					t.Fatal(err)
				}
				if answer.State.Phase.Ended() {
					ended[id] = answer.State
				}
			},
			"crash": func(*rapid.T) { restart() },
			"crash while it is posted": func(t *rapid.T) {
				id, kind := fresh(), kinds.Draw(t, "kind")
				delay := time.Duration(rapid.IntRange(0, 12).Draw(t, "ms")) * time.Millisecond
				var posts sync.WaitGroup
				for range 2 {
					posts.Go(func() { _ = post(id, kind) })
				}
				time.Sleep(delay) // a crash at any moment is what is tried
				restart()
				posts.Wait()
			},
		})
		restart()
		check()
	})
}
