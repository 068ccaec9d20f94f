package playbook

// Concurrency says which other runs of a cluster may run beside one.
type Concurrency string

// The kinds of concurrency.
const (
	Exclusive Concurrency = "exclusive"
	Shared    Concurrency = "shared"
)
