package wire_test

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/agent/wire"
)

func TestAURLAtWhichNoAgentCanBeCalledIsReported(t *testing.T) {
	for url, want := range map[string]string{
		"http://a": "", "https://a:16018/base/path": "", "http://[::1]:65535": "", "HTTP://a": "", "http://a:": "", "http://a?x=1#y": "",
		"": "is missing", "a:16018": "does not begin with http:// or https://", "file:///etc/passwd": "does not begin with", "ftp://x/": "does not begin with",
		"http://": "and a host", "http://:80": "and a host", "http:///path": "and a host", "http:a": "and a host", "//a": "does not begin with",
		"http://127.0.0.1:99999": "port 99999", "http://a:0": "port 0", "http://a:1000000000000000000000": "port 1000000000000000000000",
		"http://[": "is not a valid URL", "http://a b": "is not a valid URL", "http://a:x": "is not a valid URL", "http://a:-1": "is not a valid URL",
	} {
		err := wire.CheckURL(url)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", url, err, want)
		}
	}
}
