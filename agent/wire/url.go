package wire

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
)

// CheckURL reports why no agent can be called at a URL: it does not begin with http:// or https:// and a host, or its port is out of
// range. Nothing is sent to such a URL.
func CheckURL(text string) error {
	if text == "" {
		return errors.New("is missing")
	}
	at, err := url.Parse(text)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // without the URL
		}
		return fmt.Errorf("%q is not a valid URL: %w", short(text), err)
	}
	if at.Scheme != "http" && at.Scheme != "https" || at.Hostname() == "" {
		return fmt.Errorf("%q does not begin with http:// or https:// and a host", short(text))
	}
	if port := at.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 1<<16-1 {
			return fmt.Errorf("%q has port %s, which is not between 1 and 65535", short(text), short(port))
		}
	}
	return nil
}
