package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/jsonkeys"
)

// parseInfo reads what a probe printed: a JSON object, which may follow lines of other text, such as a warning of a client. What is
// ignored becomes a warning of the Info.
func parseInfo(output []byte) (Info, error) {
	before, raw, after, err := splitOutput(output)
	if err != nil {
		return Info{}, err
	}
	if err := wire.CheckJSON(raw); err != nil {
		return Info{}, fmt.Errorf("the probe printed JSON that cannot be stored: %w", err)
	}
	if err := jsonkeys.Check(raw); err != nil {
		return Info{}, fmt.Errorf("the probe printed JSON that is not valid: %w", err)
	}
	var p infoParser
	for _, text := range []string{before, after} {
		if text != "" {
			p.warn("text beside the JSON object is ignored: %s", text)
		}
	}
	info := p.info(raw)
	info.Warnings = p.warnings
	if p.err != nil {
		return Info{}, fmt.Errorf("the probe printed JSON that is not valid: %w", p.err)
	}
	return info, nil
}

// byteOrderMark is what some programs begin a text in UTF-8 with.
var byteOrderMark = []byte("\uFEFF")

// splitOutput separates the JSON object from the text around it, of which it returns the first line.
func splitOutput(output []byte) (before string, object json.RawMessage, after string, err error) {
	rest := bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(output), byteOrderMark))
	for start := rest; len(start) > 0 && start[0] != '{'; {
		_, start, _ = bytes.Cut(start, []byte("\n"))
		if start = bytes.TrimPrefix(bytes.TrimLeft(start, " \t\r\n"), byteOrderMark); len(start) > 0 && start[0] == '{' {
			before, rest = firstLine(string(rest)), start
		}
	}
	if len(rest) == 0 || rest[0] != '{' {
		if line := firstLine(string(rest)); line != "" {
			return "", nil, "", fmt.Errorf("the probe printed no JSON object, but: %s", line)
		}
		return "", nil, "", errors.New("the probe printed nothing")
	}
	decoder := json.NewDecoder(bytes.NewReader(rest))
	if err := decoder.Decode(&object); err != nil {
		return "", nil, "", fmt.Errorf("decode the output of the probe: %w: %s", err, firstLine(string(rest)))
	}
	trailing := bytes.TrimSpace(rest[decoder.InputOffset():])
	if len(trailing) > 0 && trailing[0] == '{' {
		return "", nil, "", errors.New("the probe printed more than one JSON object")
	}
	return before, object, firstLine(string(trailing)), nil
}

// infoParser reads the values of an Info. It keeps the first error.
type infoParser struct {
	warnings []string
	err      error
}

func (p *infoParser) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

func (p *infoParser) fail(path, want string, raw json.RawMessage) {
	if p.err == nil {
		p.err = fmt.Errorf("%s must be %s, not %s", path, want, firstLine(string(raw)))
	}
}

func (p *infoParser) info(raw json.RawMessage) (info Info) {
	p.object("the output", "", raw, map[string]func(string, json.RawMessage){
		"store_id":      p.text(&info.StoreID),
		"store_version": p.text(&info.StoreVersion),
		"status":        p.text(&info.Status),
		"reason":        p.text(&info.Reason),
		"role":          p.text(&info.Role),
		"attributes": func(path string, raw json.RawMessage) {
			decoder := json.NewDecoder(bytes.NewReader(raw))
			decoder.UseNumber() // a number stays as it is written
			if decoder.Decode(&info.Attributes) != nil {
				p.fail(path, "an object", raw)
			}
		},
		"shards": func(path string, raw json.RawMessage) {
			var items []json.RawMessage
			if json.Unmarshal(raw, &items) != nil {
				p.fail(path, "a list", raw)
			}
			info.Shards = make([]Shard, len(items))
			for i, item := range items {
				p.shard(fmt.Sprintf("%s[%d]", path, i), item, &info.Shards[i])
			}
		},
	})
	return info
}

func (p *infoParser) shard(path string, raw json.RawMessage, shard *Shard) {
	p.object(path, path+".", raw, map[string]func(string, json.RawMessage){
		"id":   p.text(&shard.ID),
		"role": p.text(&shard.Role),
		"lag": func(path string, raw json.RawMessage) {
			shard.Lag = &Lag{}
			p.object(path, path+".", raw, map[string]func(string, json.RawMessage){
				"unit": p.text(&shard.Lag.Unit),
				"value": func(path string, raw json.RawMessage) {
					if json.Unmarshal(raw, &shard.Lag.Value) != nil {
						p.fail(path, "a number", raw)
					}
				},
			})
		},
	})
}

// object reads an object with the readers of its keys. null is as if the key were not there; an unknown key is ignored.
func (p *infoParser) object(path, prefix string, raw json.RawMessage, readers map[string]func(string, json.RawMessage)) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		p.fail(path, "an object", raw)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch read := readers[key]; {
		case read == nil:
			p.warn("the unknown key %q is ignored", prefix+key)
		case string(values[key]) != "null":
			read(prefix+key, values[key])
		}
	}
}

// text reads a string, or a number as the text that it was written as.
func (p *infoParser) text(into *string) func(string, json.RawMessage) {
	return func(path string, raw json.RawMessage) {
		if json.Unmarshal(raw, into) == nil {
			return
		}
		var number json.Number
		if json.Unmarshal(raw, &number) != nil {
			p.fail(path, "a text", raw)
			return
		}
		*into = strings.TrimSpace(string(raw))
	}
}
