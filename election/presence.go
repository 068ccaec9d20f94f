package election

import (
	"encoding/json"
	"net/http"
)

// PresencePath is where a replica serves Presence, under the URL that it advertises.
const PresencePath = "/presence"

// presence is the first line of the answer.
type presence struct {
	Instance string `json:"instance"`
}

// Presence says which instance serves, and holds the answer open until the request's context ends: whoever asked hears
// at once when the process has died. The server's contexts may end only after Candidate.Run has returned.
func Presence(instance string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Cache-Control", "no-store")
		if json.NewEncoder(w).Encode(presence{Instance: instance}) == nil && http.NewResponseController(w).Flush() == nil {
			<-r.Context().Done()
		}
	})
}
