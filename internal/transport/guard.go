package transport

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Guard refuses what a web page can make the browser of an operator send: requests under a name that is not the server's (a
// page whose name was rebound to the server's address), requests from pages of other origins, and bodies of types that a page
// may send without asking.
type Guard struct {
	// Names are host names and addresses under which the server is reached; a URL or an address with a port stands for its
	// host. Names of loopback are always allowed. So is every IP address where the connection does not come through loopback:
	// only names can be rebound.
	Names []string
	// MediaTypes are the types that a request's body may have; nil: application/json only. A request whose body is empty needs
	// no type, unless NeedsType says so.
	MediaTypes func(*http.Request) []string
	// NeedsType tells whether a request needs the type of a body though it has none; nil: none does.
	NeedsType func(*http.Request) bool
	// Refuse answers a request that is refused.
	Refuse func(http.ResponseWriter, Refusal)
}

// Refusal is why a guard refuses a request.
type Refusal struct {
	Status        int
	Code, Message string
}

// MediaTypeJSON is the type of JSON.
const MediaTypeJSON = "application/json"

// Handler is handler behind the guard.
func (g Guard) Handler(handler http.Handler) http.Handler {
	names := map[string]bool{}
	for _, name := range g.Names {
		names[hostOf(name)] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusal := g.check(r, names); refusal != nil {
			g.Refuse(w, *refusal)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

func (g Guard) check(r *http.Request, names map[string]bool) *Refusal {
	if host := hostOf(r.Host); host != "" && !names[host] && !isLoopbackName(host) && !(net.ParseIP(host) != nil && !throughLoopback(r)) {
		return &Refusal{http.StatusForbidden, "foreign_host", fmt.Sprintf(
			"host %q is not a name of this server: call it by its address or by the name that it advertises, or add the name to api.hosts", host)}
	}
	if isForeignOrigin(r) {
		return &Refusal{http.StatusForbidden, "cross_origin", "the request comes from a web page of another origin, which may not call this server"}
	}
	return g.checkBody(r)
}

func (g Guard) checkBody(r *http.Request) *Refusal {
	empty := r.ContentLength == 0
	if empty && (g.NeedsType == nil || !g.NeedsType(r)) {
		return nil
	}
	allowed := []string{MediaTypeJSON}
	if g.MediaTypes != nil {
		allowed = g.MediaTypes(r)
	}
	given := r.Header.Get("Content-Type")
	if media, _, err := mime.ParseMediaType(given); err == nil && slices.Contains(allowed, media) {
		return nil
	}
	what := fmt.Sprintf("the body of type %q is not accepted", given)
	if given == "" {
		what = "the request does not say of which type its body is"
	}
	return &Refusal{http.StatusUnsupportedMediaType, "unsupported_media_type",
		what + ": send Content-Type: " + strings.Join(allowed, " or ")}
}

// hostOf is the host of a URL, of host and port, or of a host alone, in lower case.
func hostOf(text string) string {
	if strings.Contains(text, "://") {
		parsed, err := url.Parse(text)
		if err != nil {
			return ""
		}
		text = parsed.Host
	}
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

func isLoopbackName(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// throughLoopback tells whether a request's connection was accepted on an address of loopback.
func throughLoopback(r *http.Request) bool {
	address, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	tcp, ok := address.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// isForeignOrigin tells whether a browser sends a request for a page of another origin. A person may follow a link to a read.
// See https://www.w3.org/TR/fetch-metadata/.
func isForeignOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
		origin := r.Header.Get("Origin")
		if origin == "" {
			return false // no browser, or a read of an old one
		}
		parsed, err := url.Parse(origin)
		return err != nil || !strings.EqualFold(parsed.Host, r.Host)
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	return !reads || r.Header.Get("Sec-Fetch-Mode") != "navigate"
}
