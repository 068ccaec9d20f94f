package mongo

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// checkURL refuses options that would break a promise of the store. Names of options are not case-sensitive.
func checkURL(text string) error {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || (scheme != "mongodb" && scheme != "mongodb+srv") {
		return errors.New("a MongoDB URL starts with mongodb:// or mongodb+srv://")
	}
	_, query, _ := strings.Cut(rest, "?")
	for option := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(option, "=")
		if plain, err := url.QueryUnescape(value); err == nil {
			value = plain
		}
		switch name := strings.ToLower(key); name {
		case "w", "wtimeout", "wtimeoutms", "journal", "j", "safe", "fsync":
			return fmt.Errorf("remove %q: writes are always acknowledged by a majority, in its journals", option)
		case "readpreference", "readpreferencetags", "maxstalenessseconds", "slaveok":
			if name != "readpreference" || !strings.EqualFold(value, "primary") {
				return fmt.Errorf("remove %q: reads always go to the primary", option)
			}
		case "retrywrites", "retryreads":
			if !strings.EqualFold(value, "true") {
				return fmt.Errorf("remove %q: retries are needed when a primary is lost", option)
			}
		case "loadbalanced":
			if !strings.EqualFold(value, "false") {
				return fmt.Errorf("remove %q: name the members of the replica set", option)
			}
		default:
			if strings.HasPrefix(name, "readconcern") {
				return fmt.Errorf("remove %q: the read concern is chosen for each read", option)
			}
		}
	}
	return nil
}
