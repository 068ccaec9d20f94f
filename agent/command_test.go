package agent_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/wire"
)

const external = wire.KindExternalPrefix

func TestACommandReadsTheActionAndWritesAPayload(t *testing.T) {
	t.Setenv("REPLICANTE_STRAY", "inherited")
	t.Setenv("TMPDIR", t.TempDir())
	dir := t.TempDir()
	seen, stdin := filepath.Join(t.TempDir(), "env"), filepath.Join(t.TempDir(), "stdin")
	s := serve(t, agent.Config{DataDir: dir, Actions: map[string]agent.Command{
		"look": sh(`env >` + seen + `; cat >` + stdin + `; echo '{"restarted": true}' >"$REPLICANTE_OUTPUT"; echo log; echo warn >&2`)}})
	id := s.post(external+"look", `{"text": "a b\nc", "n": 1.50, "yes": true, "none": null, "list": [1], "Dash-ed": "x"}`, meta("i", 3, ""))
	state := s.end(id)
	if state.Phase != wire.PhaseDone || string(state.Payload) != `{"restarted":true}` || state.ExitCode == nil || *state.ExitCode != 0 {
		t.Errorf("state: %+v", state)
	}
	if state.StdoutTail != "log\n" || state.StderrTail != "warn\n" {
		t.Errorf("tails: %q %q", state.StdoutTail, state.StderrTail)
	}
	raw, _ := os.ReadFile(seen)
	env := string(raw)
	for _, want := range []string{"REPLICANTE_ACTION_ID=" + id, "REPLICANTE_ACTION_KIND=" + external + "look", "REPLICANTE_NODE_ID=n1",
		"REPLICANTE_CLUSTER_ID=c1", "REPLICANTE_TERM=3", "REPLICANTE_ARG_TEXT=a b\nc\n", "REPLICANTE_ARG_N=1.50",
		"REPLICANTE_ARG_YES=true", "REPLICANTE_ARG_DASH_ED=x", "PATH=", "HOME="} {
		if !strings.Contains("\n"+env, "\n"+want) {
			t.Errorf("environment lacks %q:\n%s", want, env)
		}
	}
	for _, unwanted := range []string{"REPLICANTE_ARG_NONE", "REPLICANTE_ARG_LIST", "REPLICANTE_STRAY"} {
		if strings.Contains(env, unwanted) {
			t.Errorf("environment has %q", unwanted)
		}
	}
	var given wire.Action
	raw, _ = os.ReadFile(stdin)
	if err := json.Unmarshal(raw, &given); err != nil || given.ID != id || given.Kind != external+"look" || given.State.Phase != wire.PhaseRunning {
		t.Errorf("stdin: %s, %v", raw, err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "replicante-action-*")); len(left) != 0 {
		t.Errorf("files are left: %v", left)
	}
}

func TestCommandsAreRunWithoutAShell(t *testing.T) {
	s := serve(t, agent.Config{Actions: map[string]agent.Command{
		"echo": {Command: []string{"echo", "$HOME;", "two words", "*"}}}})
	if state := s.end(s.post(external+"echo", "", nil)); state.StdoutTail != "$HOME; two words *\n" {
		t.Errorf("printed %q", state.StdoutTail)
	}
}

func TestTheLogHasTheLastLineThatAFailedCommandPrinted(t *testing.T) {
	var output bytes.Buffer
	s := serve(t, agent.Config{Log: hclog.New(&hclog.LoggerOptions{Output: &output, JSONFormat: true}), Actions: map[string]agent.Command{
		"fail":    sh(`echo first >&2; printf 'disk \033[31mfull\nquota of orders is used up\r\n\n' >&2; exit 42`),
		"long":    sh(`head -c 3000 /dev/zero | tr '\0' x >&2; exit 1`),
		"succeed": sh(`echo notice >&2`)}})
	for _, name := range []string{"fail", "long", "succeed"} {
		s.end(s.post(external+name, "", nil))
	}
	if err := s.agent.Close(); err != nil { // the log is written then
		t.Fatal(err)
	}
	text := output.String()
	if !strings.Contains(text, `"stderr":"quota of orders is used up"`) || !strings.Contains(text, `"stderr":"`+strings.Repeat("x", 200)+"…\"") ||
		strings.Contains(text, "notice") {
		t.Error(text)
	}
}

func TestTheLogNamesCommandsThatCannotBeStarted(t *testing.T) {
	var output bytes.Buffer
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, agent.Config{Log: hclog.New(&hclog.LoggerOptions{Output: &output}), Actions: map[string]agent.Command{
		"missing": {Command: []string{"/no/such/program"}}, "plain": {Command: []string{plain}}, "unknown": {Command: []string{"no-such-program"}},
		"stranger": {Command: []string{"sh"}, User: "no-such-user"}, "fine": sh("true")}})
	if err := s.agent.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`name=missing error="exec: \"/no/such/program\": `, "name=plain error=", `name=unknown error="exec: \"no-such-program\": `,
		"name=stranger error="} {
		if strings.Count(output.String(), want) != 1 {
			t.Errorf("no warning with %q", want)
		}
	}
	if strings.Count(output.String(), "[WARN]") != 4 {
		t.Error(output.String())
	}
}

func TestACommandThatFailsHasACodeAndAMessage(t *testing.T) {
	cases := map[string]struct {
		command       agent.Command
		code, message string
		exit          int
		payload       string
	}{
		"exit":            {sh("exit 3"), wire.CodeExit, "exit status 3", 3, "null"},
		"signal":          {sh("kill -TERM $$"), wire.CodeExit, "terminated", 128 + 15, "null"},
		"with a payload":  {sh(`echo '{"a": 1}' >$REPLICANTE_OUTPUT; exit 1`), wire.CodeExit, "exit status 1", 1, `{"a":1}`},
		"bad output":      {sh(`echo nonsense >$REPLICANTE_OUTPUT`), wire.CodeFailed, "not contain a JSON object", 0, "null"},
		"output: a list":  {sh(`echo '[1]' >$REPLICANTE_OUTPUT`), wire.CodeFailed, "not contain a JSON object", 0, "null"},
		"output: null":    {sh(`echo null >$REPLICANTE_OUTPUT`), wire.CodeFailed, "not contain a JSON object", 0, "null"},
		"output: a pipe":  {sh(`rm $REPLICANTE_OUTPUT; mkfifo $REPLICANTE_OUTPUT`), wire.CodeFailed, "not a regular file", 0, "null"},
		"too much output": {sh(`head -c 70000 /dev/zero >$REPLICANTE_OUTPUT`), wire.CodeFailed, "more than 65536 bytes", 0, "null"},
		"a key twice":     {sh(`echo '{"a": {"b": 1, "b": 2}}' >$REPLICANTE_OUTPUT`), wire.CodeFailed, `the key "a.b" is given twice`, 0, "null"},
		"NUL in a key":    {sh(`printf '%s' '{"a\u0000b": 1}' >$REPLICANTE_OUTPUT`), wire.CodeFailed, "NUL", 0, "null"},
		"NUL in a text":   {sh(`printf '%s' '{"a": ["\u0000"]}' >$REPLICANTE_OUTPUT; exit 4`), wire.CodeExit, "NUL", 4, "null"},
		"too deep":        {sh(`i=0; while [ $i -lt 65 ]; do printf '{"a":'; i=$((i+1)); done >$REPLICANTE_OUTPUT; { printf 1; while [ $i -gt 0 ]; do printf '}'; i=$((i-1)); done; } >>$REPLICANTE_OUTPUT`), wire.CodeFailed, "more than 64 levels", 0, "null"},
		"no such file":    {agent.Command{Command: []string{"/no/such/file"}}, wire.CodeFailed, "cannot be started", -1, "null"},
	}
	actions := map[string]agent.Command{}
	for name, c := range cases {
		actions[strings.NewReplacer(" ", "-", ":", "").Replace(name)] = c.command
	}
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: actions})
	for name, c := range cases {
		state := s.end(s.post(external+strings.NewReplacer(" ", "-", ":", "").Replace(name), "", nil))
		if state.Phase != wire.PhaseFailed || code(state) != c.code || !strings.Contains(message(state), c.message) || string(state.Payload) != c.payload {
			t.Errorf("%s: %s %s with %s", name, state.Phase, state.Error, state.Payload)
		}
		if c.exit >= 0 && (state.ExitCode == nil || *state.ExitCode != c.exit) || c.exit < 0 && state.ExitCode != nil {
			t.Errorf("%s: exit code %v", name, state.ExitCode)
		}
	}
}

func TestTailsAreTheLastBytesAsValidUTF8(t *testing.T) {
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{
		"much":   sh(`i=0; while [ $i -lt 3000 ]; do echo "line $i"; i=$((i+1)); done; head -c 300000 /dev/zero | tr '\0' 'e' >&2; echo last >&2`),
		"binary": sh(`printf 'a\377b\377%.0s' $(seq 3000); printf '%s' "$(yes ä | head -n 5000 | tr -d '\n')" >&2`),
	}})
	state := s.end(s.post(external+"much", "", nil))
	if len(state.StdoutTail) != wire.TailBytes || !strings.HasSuffix(state.StdoutTail, "line 2998\nline 2999\n") {
		t.Errorf("stdout: %d bytes that end with %q", len(state.StdoutTail), state.StdoutTail[max(0, len(state.StdoutTail)-30):])
	}
	if len(state.StderrTail) != wire.TailBytes || !strings.HasSuffix(state.StderrTail, "eeelast\n") {
		t.Errorf("stderr: %d bytes", len(state.StderrTail))
	}
	state = s.end(s.post(external+"binary", "", nil))
	for name, tail := range map[string]string{"stdout": state.StdoutTail, "stderr": state.StderrTail} {
		if len(tail) > wire.TailBytes || len(tail) < wire.TailBytes/2 || !utf8.ValidString(tail) {
			t.Errorf("%s: %d bytes, valid %v", name, len(tail), utf8.ValidString(tail))
		}
	}
	if strings.Trim(state.StderrTail, "ä") != "" {
		t.Error("a rune is cut")
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid string) bool {
	raw, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func pids(t *testing.T, path string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(raw))
}

func TestATimeoutStopsTheWholeSessionBeforeItIsReported(t *testing.T) {
	cases := map[string]struct {
		script   string
		own      time.Duration
		metadata map[string]string
	}{
		"the command's own": {`sleep 1000 & echo $! >>FILE; echo $$ >>FILE; wait`, 100 * time.Millisecond, map[string]string{wire.MetaTimeout: "1h"}},
		"the request's":     {`sleep 1000 & echo $! >>FILE; sleep 1000`, time.Hour, map[string]string{wire.MetaTimeout: "100ms"}},
		"deaf to SIGTERM": {`trap '' TERM; (trap '' TERM; sleep 1000; sleep 1000) & echo $! >>FILE; while :; do sleep 1000; done`,
			100 * time.Millisecond, nil},
		"job control": {`bash -c 'set -m; sleep 1000 & echo $! >>FILE; wait'`, 100 * time.Millisecond, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pids")
			command := sh(strings.ReplaceAll(c.script, "FILE", file))
			command.Timeout = c.own
			s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{"hang": command}})
			for fileHolds := fileHolds(file, "\n"); !fileHolds(); { // on a loaded machine the command may be stopped before it has begun
				state := s.end(s.post(external+"hang", "", c.metadata))
				if code(state) != wire.CodeTimeout || !strings.Contains(message(state), "100ms") {
					t.Fatalf("state: %+v %s", state, state.Error)
				}
			}
			for _, pid := range pids(t, file) {
				if alive(pid) {
					t.Errorf("process %s still runs", pid)
				}
			}
		})
	}
}

func TestAKillStopsTheRunningActionAndTheNextOneStarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{
		"hang": sh(`sleep 1000 & echo $! >` + file + `; echo $$ >>` + file + `; wait`)}})
	id, next := s.post(external+"hang", "", nil), s.post(wire.KindSuccess, "", nil)
	eventually(t, "the command runs", func() bool { raw, _ := os.ReadFile(file); return len(strings.Fields(string(raw))) == 2 })
	if state := s.cancel(id, wire.CancelRequest{Kill: true}); code(state) != wire.CodeCancelled {
		t.Errorf("answer: %+v", state)
	}
	for _, pid := range pids(t, file) {
		if alive(pid) {
			t.Errorf("process %s still runs", pid)
		}
	}
	if state := s.end(next); state.Phase != wire.PhaseDone {
		t.Errorf("the next action: %+v", state)
	}
}

func TestAnActionIsOverWhenAllThatItStartedIs(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{
		"daemon": sh(`setsid sleep 1000 & echo $! >` + file + `; echo started`)}})
	id := s.post(external+"daemon", "", nil)
	waiting := func() wire.State {
		action, err := s.Get(t.Context(), s.url, id, 0)
		if err != nil {
			t.Fatal(err)
		}
		return action.State
	}
	eventually(t, "the action reports what it waits for", func() bool { return waiting().Waiting != "" })
	if state := waiting(); state.Phase != wire.PhaseRunning || !strings.Contains(state.Waiting, "still running: s") {
		t.Errorf("state: %+v", state)
	}
	kill(t, pids(t, file)[0])
	if state := s.end(id); state.Phase != wire.PhaseDone || state.StdoutTail != "started\n" || state.Waiting != "" {
		t.Errorf("state: %+v", state)
	}
}

func TestATimeoutNamesWhatWasLeftRunning(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{
		"daemon": sh(`setsid sleep 1000 & echo $! >` + file + `; until grep -q sleep /proc/$!/comm; do sleep 0.01; done; exit 3`)}})
	id := s.post(external+"daemon", "", nil)
	eventually(t, "the command has exited", func() bool {
		action, err := s.Get(t.Context(), s.url, id, 0)
		return err == nil && strings.Contains(action.State.Waiting, "sleep (")
	})
	state := s.cancel(id, wire.CancelRequest{Kill: true, Code: wire.CodeTimeout})
	if code(state) != wire.CodeTimeout || !strings.Contains(message(state), "exit status 3") || !strings.Contains(message(state), "sleep (") ||
		!strings.Contains(message(state), "service manager") || *state.ExitCode != 3 {
		t.Errorf("state: %+v %s", state, state.Error)
	}
	if alive(pids(t, file)[0]) {
		t.Error("what was left is still running")
	}
}

func TestACommandGetsNothingThatConcernsTheAgentAlone(t *testing.T) {
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "REPLIAGENT_LOG_LEVEL", "INVOCATION_ID"} {
		t.Setenv(name, "stray")
	}
	s := serve(t, agent.Config{Actions: map[string]agent.Command{"env": {Command: []string{"env"}}}, Probe: probe(`env >&2; exit 1`)})
	if state := s.end(s.post(external+"env", "", nil)); strings.Contains(state.StdoutTail, "stray") {
		t.Errorf("environment: %s", state.StdoutTail)
	}
}

func TestALargeArgumentIsOnStandardInputOnly(t *testing.T) {
	s := serve(t, agent.Config{Actions: map[string]agent.Command{"read": sh(`wc -c; env | grep -c ^REPLICANTE_ARG_; env | grep ^REPLICANTE_ARG_SMALL`)}})
	state := s.end(s.post(external+"read", `{"small": "x", "edge": "`+strings.Repeat("e", 32<<10)+`", "big": "`+strings.Repeat("b", 140_000)+`"}`, nil))
	var size, variables int
	if _, err := fmt.Sscanf(state.StdoutTail, "%d\n%d\nREPLICANTE_ARG_SMALL=x", &size, &variables); err != nil || size < 170_000 || variables != 2 {
		t.Errorf("state: %+v %s, %v", state, state.Error, err)
	}
}

func TestACommandMayBecomeAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may run a command as another user")
	}
	if _, err := exec.LookPath("runuser"); err != nil {
		t.Skip("runuser is not installed")
	}
	write := `id -un; echo "{\"a\": 1}" >"$REPLICANTE_OUTPUT"; echo log >/dev/stderr`
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{
		"itself":     {Command: []string{"runuser", "-u", "nobody", "--", "sh", "-c", write}},
		"configured": {Command: []string{"sh", "-c", write}, User: "nobody"},
		"by-number":  {Command: []string{"sh", "-c", write}, User: "65534"},
		"missing":    {Command: []string{"sh", "-c", write}, User: "no-such-user"},
	}})
	for _, name := range []string{"itself", "configured", "by-number"} {
		state := s.end(s.post(external+name, "", nil))
		if state.Phase != wire.PhaseDone || string(state.Payload) != `{"a":1}` || state.StdoutTail != "nobody\n" || state.StderrTail != "log\n" {
			t.Errorf("%s: %+v %s", name, state, state.Error)
		}
	}
	if state := s.end(s.post(external+"missing", "", nil)); !strings.Contains(message(state), `no user "no-such-user"`) {
		t.Errorf("missing: %s", state.Error)
	}
}

func TestOnlyTheEndOfALongLogIsKept(t *testing.T) {
	s := serve(t, agent.Config{Actions: map[string]agent.Command{
		"much": sh(`head -c 20000000 /dev/zero | tr '\0' x; sleep 0.6; stat -L -c %b /proc/self/fd/1 >&2; echo; echo last`)}})
	state := s.end(s.post(external+"much", "", nil))
	var blocks int
	if _, err := fmt.Sscan(state.StderrTail, &blocks); err != nil || blocks*512 > 2<<20 {
		t.Errorf("20 MB of log use %s blocks", state.StderrTail)
	}
	if !strings.HasSuffix(state.StdoutTail, "xxx\nlast\n") || len(state.StdoutTail) != wire.TailBytes {
		t.Errorf("stdout: %d bytes", len(state.StdoutTail))
	}
}
