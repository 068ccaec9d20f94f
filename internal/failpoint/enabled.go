//go:build failpoints

package failpoint

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// armed is what happens at the points, by name.
var armed = struct {
	sync.Mutex
	points map[string]*action
}{points: map[string]*action{}}

// action sends a signal to this process when its point is passed the nth time.
type action struct {
	nth    int
	signal syscall.Signal
}

func init() {
	path := os.Getenv("REPLICANTE_FAILPOINTS")
	if path == "" {
		return
	}
	_ = os.Remove(path) // of an earlier process
	listener, err := net.Listen("unix", path)
	if err != nil {
		panic(fmt.Sprintf("REPLICANTE_FAILPOINTS: %v", err))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /point", arm)
	mux.HandleFunc("POST /clock", step)
	mux.HandleFunc("POST /disconnect", func(_ http.ResponseWriter, r *http.Request) { linkTo(r.FormValue("peer")).set(true) })
	mux.HandleFunc("POST /reconnect", func(_ http.ResponseWriter, r *http.Request) { linkTo(r.FormValue("peer")).set(false) })
	go func() { _ = http.Serve(listener, mux) }()
}

func arm(w http.ResponseWriter, r *http.Request) {
	nth, err := strconv.Atoi(r.FormValue("nth"))
	signals := map[string]syscall.Signal{"kill": syscall.SIGKILL, "stop": syscall.SIGSTOP}
	signal, known := signals[r.FormValue("do")]
	if err != nil || nth < 1 || !known {
		http.Error(w, "name, nth (from 1) and do (kill or stop) are required", http.StatusBadRequest)
		return
	}
	armed.Lock()
	defer armed.Unlock()
	armed.points[r.FormValue("name")] = &action{nth: nth, signal: signal}
}

// Point is a place at which a test can kill or stop the process.
func Point(name string) {
	armed.Lock()
	a := armed.points[name]
	if a != nil {
		if a.nth--; a.nth > 0 {
			a = nil
		} else {
			delete(armed.points, name)
		}
	}
	armed.Unlock()
	if a != nil {
		_ = syscall.Kill(os.Getpid(), a.signal)
		if a.signal == syscall.SIGKILL {
			select {}
		}
	}
}

// offset is how far the wall clock of this process is from that of the machine.
var offset atomic.Int64

func step(w http.ResponseWriter, r *http.Request) {
	by, err := time.ParseDuration(r.FormValue("by"))
	if err != nil {
		http.Error(w, "by is required: how far the clock is to be from that of the machine", http.StatusBadRequest)
		return
	}
	offset.Store(int64(by))
}

// Wall reads the wall clock, which a test can step. As with a step of the machine's own clock, monotonic time is not changed:
// what Wall returns has none.
func Wall() time.Time { return time.Now().Round(0).Add(time.Duration(offset.Load())) }

var broken = strings.Split(os.Getenv("REPLICANTE_BREAK"), ",")

// Broken reports whether a test wants a promise to be broken.
func Broken(promise string) bool { return slices.Contains(broken, promise) }

// replacements are functions from T to T, by the name of the value.
var replacements = map[string]any{}

// Replace has Wrap put with(v) in the place of v. It is for init functions.
func Replace[T any](name string, with func(T) T) { replacements[name] = with }

// Wrap is v, or what replaces it.
func Wrap[T any](name string, v T) T {
	if with, replaced := replacements[name]; replaced {
		return with.(func(T) T)(v)
	}
	return v
}
