package controller_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
)

func TestARunThatWaitsForItsApprovalHoldsNoPlaceInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.apply("approved", "  approval: {timeout: 1h}\n"+slow)
		h.lead()
		defer func() { h.kill() }()
		approve := func(id string) {
			t.Helper()
			if _, err := h.current.Command(t.Context(), record.Request{Actor: "op"}, id, record.Command{Verb: record.VerbApprove}); err != nil {
				t.Fatal(err)
			}
		}
		waiting := h.start(record.Request{}, record.RunRequest{Playbook: "approved"})
		if waiting.State != record.RunPendingApprove || waiting.QueuedTS != nil || waiting.Waiting == nil || waiting.Waiting.For != record.WaitApproval {
			t.Fatalf("it is %s, queued %v, waiting %+v", waiting.State, waiting.QueuedTS, waiting.Waiting)
		}
		h.await(h.start(record.Request{}, record.RunRequest{}).ID, record.RunDone) // though it was requested later
		h.kill()
		time.Sleep(2 * time.Hour) // in which nobody can approve
		h.lead()
		h.await(h.start(record.Request{}, record.RunRequest{}).ID, record.RunDone)
		before := h.start(record.Request{}, record.RunRequest{}).ID
		h.await(before, record.RunRunning)
		_, err := h.current.Start(t.Context(), record.Request{}, record.RunRequest{Playbook: "approved", Cluster: waiting.Cluster, IfBusy: "fail"})
		if rejected := new(record.RejectedError); !errors.As(err, &rejected) || rejected.Code != record.CodeClusterBusy {
			t.Errorf("with if_busy: fail: %v", err)
		}
		approve(waiting.ID)
		h.await(waiting.ID, record.RunPending)
		after := h.start(record.Request{}, record.RunRequest{}).ID
		h.await(before, record.RunDone)
		first := h.await(waiting.ID, record.RunDone)
		second := h.await(after, record.RunDone)
		if second.StartTS.Before(*first.EndTS) {
			t.Errorf("the run that was approved ended at %s, the one that was requested then began at %s", first.EndTS, second.StartTS)
		}
		late := h.start(record.Request{}, record.RunRequest{Playbook: "approved"})
		time.Sleep(61 * time.Minute)
		if ended := h.await(late.ID, record.RunCancelled); ended.Error.Code != record.CodeApprovalTimeout {
			t.Errorf("error %+v", ended.Error)
		}
		h.onceEach()
	})
}
