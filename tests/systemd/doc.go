// Package systemd tests the installed units of the control plane and of an agent on a machine with a running systemd.
package systemd
