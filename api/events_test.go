package api_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
)

func TestEventsArePaged(t *testing.T) {
	p, h := leading(t)
	id := started(t, h)
	for range 4 {
		p.Move(id, apitest.Change{State: record.RunRunning, Event: record.EventNodeState})
	}
	get := func(query string) items[record.Event] {
		t.Helper()
		return into[items[record.Event]](t, ok(t, call(t, h, "GET", "/api/v1/runs/"+id+"/events"+query, ""), 200))
	}
	if all := get(""); len(all.Items) != 5 || all.NextCursor != "" || all.Items[0].Type != record.EventRunCreated {
		t.Fatalf("%+v", all)
	}
	page := get("?after=1&limit=3")
	if len(page.Items) != 3 || page.Items[0].Seq != 2 || page.NextCursor != "4" {
		t.Fatalf("%+v", page)
	}
	if last := get("?cursor=" + page.NextCursor); len(last.Items) != 1 || last.Items[0].Seq != 5 {
		t.Fatalf("%+v", last)
	}
	if none := get("?after=5"); len(none.Items) != 0 {
		t.Fatalf("%+v", none)
	}
	rejected(t, call(t, h, "GET", "/api/v1/runs/"+id+"/events?cursor=x", ""), 400, "bad_cursor")
	rejected(t, call(t, h, "GET", "/api/v1/runs/"+id+"/events?after=-1", ""), 400, "bad_request")
}

// stream opens an event stream and returns its lines, without comments and empty ones; it is closed at its end.
func stream(t *testing.T, url string, headers ...string) <-chan string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", answer.StatusCode, answer.Header)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		defer func() { _ = answer.Body.Close() }()
		for scanner := bufio.NewScanner(answer.Body); scanner.Scan(); {
			if text := scanner.Text(); text != "" && !strings.HasPrefix(text, ":") {
				lines <- text
			}
		}
	}()
	return lines
}

// want reads lines that begin with each of prefixes.
func want(t *testing.T, lines <-chan string, prefixes ...string) {
	t.Helper()
	for _, prefix := range prefixes {
		select {
		case line, open := <-lines:
			if !open || !strings.HasPrefix(line, prefix) {
				t.Fatalf("%q (open: %v), wanted %q", line, open, prefix)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("nothing came, wanted %q", prefix)
		}
	}
}

func closed(t *testing.T, lines <-chan string) {
	t.Helper()
	select {
	case line, open := <-lines:
		if open {
			t.Fatalf("%q after the end", line)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the stream does not end")
	}
}

func TestAnyReplicaStreamsARunToItsEnd(t *testing.T) {
	p, h := leading(t)
	id := started(t, h)
	follower := p.Serve("core-2")
	url := follower.URL + "/api/v1/runs/" + id + "/events"

	lines := stream(t, url)
	want(t, lines, "id: 1", `data: {"run_id":"`)
	p.Move(id, apitest.Change{State: record.RunRunning, Event: record.EventNodeState})
	want(t, lines, "id: 2", "data: ")
	later := stream(t, url, "Last-Event-ID", "1")
	want(t, later, "id: 2", "data: ")
	p.Move(id, apitest.Change{State: record.RunDone, Event: record.EventRunFinished})
	for _, lines := range []<-chan string{lines, later} {
		want(t, lines, "id: 3", "data: ", "event: end", "data: {}")
		closed(t, lines)
	}
	over := stream(t, url, "Last-Event-ID", "3")
	want(t, over, "event: end", "data: {}")
	closed(t, over)
	all := stream(t, url)
	want(t, all, "id: 1", "data: ", "id: 2", "data: ", "id: 3", "data: ", "event: end")
}

func TestAStreamOfARunThatWasReopenedContinues(t *testing.T) {
	p, h := leading(t)
	id := started(t, h)
	p.Move(id, apitest.Change{State: record.RunFailed, Event: record.EventRunFinished})
	p.Move(id, apitest.Change{State: record.RunRunning, Event: record.EventRunResumed})
	server := p.Serve("core-2")
	lines := stream(t, server.URL+"/api/v1/runs/"+id+"/events")
	want(t, lines, "id: 1", "data: ", "id: 2", "data: ", "id: 3", "data: ")
	p.Move(id, apitest.Change{State: record.RunDone, Event: record.EventRunFinished})
	want(t, lines, "id: 4", "data: ", "event: end")
}
