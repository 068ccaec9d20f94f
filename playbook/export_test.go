package playbook

import "github.com/replicante-io/playbooks/record"

// LoadAll is Load for specs with keys that have no effect yet too.
func LoadAll(spec record.Document) (*Spec, error) {
	loaded, _, err := load(spec)
	return loaded, err
}
