package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

var (
	userInURL   = regexp.MustCompile(`(://).*@`)
	secretInURL = regexp.MustCompile(`(?i)([?&](?:[^=&]*password|authMechanismProperties)=)[^&#]*`)
)

// hideSecrets takes out of a URL what must not be shown: who logs in, with what.
func hideSecrets(text string) string {
	text = userInURL.ReplaceAllString(text, "${1}***@")
	return secretInURL.ReplaceAllString(text, "${1}***")
}

// String shows the URL without secrets.
func (c Store) String() string { return hideSecrets(c.URL) }

// String shows every key with its value, one a line, without secrets and without what is only in the file.
func (c Core) String() string { return list(reflect.ValueOf(c)) }

// String is like Core's.
func (a Agent) String() string { return list(reflect.ValueOf(a)) }

func list(root reflect.Value) string {
	var b strings.Builder
	for _, k := range scalarsOf(root.Type()) {
		fmt.Fprintf(&b, "%s: %s\n", k.path, hideSecrets(format(root.FieldByIndex(k.index))))
	}
	return b.String()
}
