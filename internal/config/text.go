package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

var (
	userInURL   = regexp.MustCompile(`(://).*@`)
	cutURL      = regexp.MustCompile(`(://)[^"]*…`) // the end of which may have been cut off before an @
	secretInURL = regexp.MustCompile(`(?i)([?&](?:[^=&]*password|authMechanismProperties)=)[^&#]*`)
)

// hideSecrets replaces credentials in a URL, or in a message that quotes one.
func hideSecrets(text string) string {
	text = userInURL.ReplaceAllString(text, "${1}***@")
	text = cutURL.ReplaceAllString(text, "${1}***…")
	return secretInURL.ReplaceAllString(text, "${1}***")
}

// String is the URL without credentials.
func (c Store) String() string { return hideSecrets(c.URL) }

// String lists the keys with their values, one per line, without credentials and without keys that only the file can give.
func (c Core) String() string { return list(reflect.ValueOf(c)) }

// String is like Core.String.
func (a Agent) String() string { return list(reflect.ValueOf(a)) }

func list(root reflect.Value) string {
	var b strings.Builder
	for _, k := range scalarsOf(root.Type()) {
		fmt.Fprintf(&b, "%s: %s\n", k.path, hideSecrets(format(root.FieldByIndex(k.index))))
	}
	return b.String()
}
