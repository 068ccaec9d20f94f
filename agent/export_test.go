package agent

// DisableCgroups makes the agents of this process use no cgroups.
func DisableCgroups() { ownCgroup = func() string { return "" } }
