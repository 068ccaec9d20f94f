package transport_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/internal/transport"
)

// pipes is a listener whose connections are in memory, so that time passes for them as a test wants it to.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()

	clients []net.Conn
	work    sync.WaitGroup // of the clients
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	p.clients = append(p.clients, ours)
	return ours
}

// end closes the clients' connections and waits for what they do.
func (p *pipes) end() {
	for _, conn := range p.clients {
		_ = conn.Close()
	}
	p.work.Wait()
}

// serve runs a server in a synctest bubble; test ends before it.
func serve(t *testing.T, config transport.ServerConfig, test func(t *testing.T, listener *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		defer listener.end()
		go func() { served <- transport.NewServer(config).Serve(ctx, listener) }()
		test(t, listener)
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// request writes text as it stands, and reads the answer's header.
func request(t *testing.T, conn net.Conn, text string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })

func TestAConnectionWhoseHeaderDoesNotComeIsClosed(t *testing.T) {
	serve(t, transport.ServerConfig{Handler: hello}, func(t *testing.T, listener *pipes) {
		began := time.Now()
		conn := listener.dial()
		listener.work.Go(func() {
			for { // one byte after the other, without end
				if _, err := io.WriteString(conn, "x"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		if answer, _ := io.ReadAll(conn); strings.Contains(string(answer), "200") {
			t.Errorf("it was answered %q", answer)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it was closed after %s", took)
		}
	})
}

func TestABodyThatDoesNotComeEndsItsRequest(t *testing.T) {
	var read chan error // made inside the bubble
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	})
	serve(t, transport.ServerConfig{Handler: handler}, func(t *testing.T, listener *pipes) {
		read = make(chan error, 1)
		began := time.Now()
		conn := listener.dial()
		listener.work.Go(func() {
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
			for {
				if _, err := io.WriteString(conn, "x"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		listener.work.Go(func() { _, _ = io.Copy(io.Discard, conn) })
		var timeout net.Error
		if err := <-read; !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("the body: %v", err)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("it ended after %s", took)
		}
	})
}

func TestABodyThatIsTooLargeIsNotReadToItsEnd(t *testing.T) {
	var read chan error // made inside the bubble
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		if len(content) > 10 {
			err = fmt.Errorf("%d bytes were read", len(content))
		}
		read <- err
	})
	serve(t, transport.ServerConfig{Handler: handler, MaxBody: 10}, func(t *testing.T, listener *pipes) {
		read = make(chan error, 1)
		conn := listener.dial()
		request(t, conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world")
		if err := <-read; !errors.As(err, new(*http.MaxBytesError)) {
			t.Errorf("the body: %v", err)
		}
	})
}

func TestUnfinishedBodiesTakeBoundedMemoryAndSmallOnesDoNotWait(t *testing.T) {
	const maxBody, senders = 1 << 20, 100
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprint(w, len(content), err)
	})
	serve(t, transport.ServerConfig{Handler: handler, MaxBody: maxBody}, func(t *testing.T, listener *pipes) {
		var accepted atomic.Int64
		for range senders {
			conn := listener.dial()
			listener.work.Go(func() {
				_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", maxBody)
				for range maxBody/1024 - 1 { // and never the end
					n, err := conn.Write(make([]byte, 1024))
					if accepted.Add(int64(n)); err != nil {
						return
					}
				}
			})
			listener.work.Go(func() { _, _ = io.Copy(io.Discard, conn) })
		}
		synctest.Wait()
		if got := accepted.Load(); got > 16*maxBody+senders*(32<<10) || got < 15*maxBody {
			t.Errorf("%d bytes of unfinished bodies are kept", got)
		}
		response := request(t, listener.dial(), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
		if content, _ := io.ReadAll(response.Body); string(content) != "4 <nil>" {
			t.Errorf("a small body is answered %q", content)
		}
		time.Sleep(31 * time.Second) // those that had room are ended, and others have it
		conn := listener.dial()
		listener.work.Go(func() {
			_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", maxBody, make([]byte, maxBody))
		})
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if content, _ := io.ReadAll(response.Body); string(content) != fmt.Sprint(maxBody, " <nil>") {
			t.Errorf("a large body is answered %q", content)
		}
	})
}

func TestAHeaderThatIsTooLargeIsRejected(t *testing.T) {
	serve(t, transport.ServerConfig{Handler: hello}, func(t *testing.T, listener *pipes) {
		conn := listener.dial()
		listener.work.Go(func() { _, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nX: "+strings.Repeat("x", 80<<10)+"\r\n\r\n") })
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%+v, %v", response, err)
		}
	})
}

func TestAnAnswerThatNobodyReadsIsCutOff(t *testing.T) {
	var written chan error // made inside the bubble
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(make([]byte, 1<<20))
		written <- err
	})
	serve(t, transport.ServerConfig{Handler: handler}, func(t *testing.T, listener *pipes) {
		written = make(chan error, 1)
		began := time.Now()
		conn := listener.dial()
		if _, err := io.WriteString(conn, get); err != nil {
			t.Fatal(err)
		}
		if err := <-written; err == nil {
			t.Error("the answer was written")
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("it was cut off after %s", took)
		}
	})
}

func TestAnAnswerThatIsReadSlowlyArrivesWhole(t *testing.T) {
	const size = 1 << 20
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) })
	serve(t, transport.ServerConfig{Handler: handler}, func(t *testing.T, listener *pipes) {
		conn := listener.dial()
		response := request(t, conn, get)
		defer response.Body.Close()
		for got := 0; got < size; {
			n, err := response.Body.Read(make([]byte, 32<<10))
			if got += n; err != nil && got < size {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			time.Sleep(5 * time.Second / 8) // 4 KiB, which is how much one read of a pipe gets
		}
	})
}

func TestAnAnswerThatIsHeldAndAStreamOutliveTheTimeouts(t *testing.T) {
	for name, hold := range map[string]func(w http.ResponseWriter){
		"held":   func(w http.ResponseWriter) { time.Sleep(time.Hour) },
		"stream": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "…"); flush(w); time.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				hold(w)
				if r.Context().Err() != nil {
					t.Error("the request's context has ended")
				}
				_, _ = io.WriteString(w, "end")
			})
			serve(t, transport.ServerConfig{Handler: handler}, func(t *testing.T, listener *pipes) {
				conn := listener.dial()
				for range 2 { // deadlines of the first must not be left to the second
					response := request(t, conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
					content, err := io.ReadAll(response.Body)
					if err != nil || !strings.HasSuffix(string(content), "end") {
						t.Fatalf("%q, %v", content, err)
					}
				}
			})
		})
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

func TestAtTheBoundANewConnectionTakesThePlaceOfAnIdleOne(t *testing.T) {
	serve(t, transport.ServerConfig{Handler: hello, MaxConnections: 2}, func(t *testing.T, listener *pipes) {
		oldest, newer := listener.dial(), listener.dial()
		for _, conn := range []net.Conn{oldest, newer} {
			_, _ = io.Copy(io.Discard, request(t, conn, get).Body)
			time.Sleep(time.Second)
		}
		third := listener.dial()
		if response := request(t, third, get); response.StatusCode != http.StatusOK {
			t.Errorf("the third: %s", response.Status)
		}
		if _, err := oldest.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the connection that was idle the longest is open: %v", err)
		}
		if response := request(t, newer, get); response.StatusCode != http.StatusOK {
			t.Errorf("the second: %s", response.Status)
		}
	})
}

func TestAtTheBoundANewConnectionWaitsForABusyOne(t *testing.T) {
	var begun, finish chan struct{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			close(begun)
			<-finish
		}
		_, _ = io.WriteString(w, "hello")
	})
	synctest.Test(t, func(t *testing.T) {
		begun, finish = make(chan struct{}), make(chan struct{})
		listener := newPipes()
		defer listener.end()
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- transport.NewServer(transport.ServerConfig{Handler: handler, MaxConnections: 1}).Serve(ctx, listener)
		}()
		busy := listener.dial()
		listener.work.Go(func() { _, _ = io.WriteString(busy, "GET /busy HTTP/1.1\r\nHost: x\r\n\r\n") })
		<-begun

		waiting := listener.dial()
		answered := make(chan *http.Response, 1)
		listener.work.Go(func() {
			_, _ = io.WriteString(waiting, get)
			response, _ := http.ReadResponse(bufio.NewReader(waiting), nil)
			answered <- response
		})
		synctest.Wait()
		select {
		case <-answered:
			t.Error("a second connection was answered")
		default:
		}
		close(finish)
		listener.work.Go(func() { _, _ = io.Copy(io.Discard, busy) })
		if response := <-answered; response == nil || response.StatusCode != http.StatusOK {
			t.Errorf("the one that waited: %+v", response)
		}
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestServeEndsRequestsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, ended := make(chan struct{}), make(chan struct{})
		handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(begun)
			<-r.Context().Done()
			close(ended)
		})
		listener := newPipes()
		defer listener.end()
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- transport.NewServer(transport.ServerConfig{Handler: handler}).Serve(ctx, listener) }()
		conn := listener.dial()
		listener.work.Go(func() { _, _ = io.WriteString(conn, get); _, _ = io.Copy(io.Discard, conn) })
		<-begun
		_ = listener.Close() // lets no new connection in, and ends nothing
		synctest.Wait()
		select {
		case <-ended:
			t.Error("the request ended with the listener")
		case err := <-served:
			t.Errorf("Serve returned before its context ended: %v", err)
		default:
		}
		stop()
		<-ended
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestServeCutsOffARequestThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, finish := make(chan struct{}), make(chan struct{})
		defer close(finish)
		handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(begun)
			<-finish
		})
		listener := newPipes()
		defer listener.end()
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- transport.NewServer(transport.ServerConfig{Handler: handler}).Serve(ctx, listener) }()
		conn := listener.dial()
		listener.work.Go(func() { _, _ = io.WriteString(conn, get) })
		<-begun
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the connection is open: %v", err)
		}
	})
}

func TestAListenerThatFailsEndsServe(t *testing.T) {
	broken := errors.New("broken")
	err := transport.NewServer(transport.ServerConfig{Handler: hello}).Serve(t.Context(), failing{newPipes(), broken})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct {
	*pipes
	err error
}

func (f failing) Accept() (net.Conn, error) { return nil, f.err }
