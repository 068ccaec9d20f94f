package client_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/transport"
)

func TestWithoutFreeFileDescriptorsNoAgentIsBlamed(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(file.Fd())
	_ = file.Close()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	for spare, free := range map[uint64]bool{0: false, 4: false, 64: true} {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: next + spare, Max: before.Max}); err != nil {
			t.Fatal(err)
		}
		_, err := client.New(client.Config{}).NodeInfo(t.Context(), "http://127.0.0.1:1")
		shortage := transport.CheckDescriptors()
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, wire.ErrNotSent) || errors.Is(err, wire.ErrCannotCall) == free || (shortage == nil) != free {
			t.Errorf("with %d free descriptors: %v; %v", spare, err, shortage)
		}
	}
}
