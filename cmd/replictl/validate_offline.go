package main

import (
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// validateOffline checks documents as a server does, as far as that needs nothing that a server has stored. Unchecked are the
// schedules whose playbook is not among the files: their params and where are not checked.
func validateOffline(files []client.File) (items []client.Applied, unchecked []string, err error) {
	var problems record.Problems
	var schedules []*playbook.Schedule
	playbooks := map[string]*playbook.Playbook{}
	from := playbook.Names{}
	for _, f := range files {
		documents, err := playbook.ParseDocuments(f.Name, f.Data)
		var found record.Problems
		if err != nil && !errors.As(err, &found) {
			return nil, nil, fmt.Errorf("read %s: %w", f.Name, err)
		}
		problems = append(problems, found...)
		if err != nil {
			continue
		}
		add := func(kind, name, version string) {
			if problem := from.Add(f.Name, playbook.DocumentName{Kind: kind, Name: name}); problem != nil {
				problems = append(problems, *problem)
			}
			items = append(items, client.Applied{Kind: kind, Name: name, Version: version})
		}
		for _, p := range documents.Playbooks {
			add("Playbook", p.Name, p.Version)
			playbooks[p.Name] = p
		}
		for _, s := range documents.Schedules {
			add("Schedule", s.Name, "")
			schedules = append(schedules, s)
		}
		for _, f := range documents.Freezes {
			add("Freeze", f.Name, "")
		}
	}
	for _, s := range schedules {
		if p := playbooks[s.Spec.Playbook]; p == nil || s.Spec.Revision != 0 {
			unchecked = append(unchecked, s.Name)
		} else {
			problems = append(problems, s.Check(p.Spec)...)
		}
	}
	if len(problems) == 0 && len(items) == 0 {
		return nil, nil, errors.New("the files contain no playbook, schedule or freeze")
	}
	if len(problems) == 0 {
		return items, unchecked, nil
	}
	answer := &client.Error{Code: "invalid_playbook", Message: fmt.Sprintf("%d problems were found", len(problems))}
	if len(problems) == 1 {
		answer.Message = "one problem was found"
	}
	for _, p := range problems {
		answer.Problems = append(answer.Problems, client.Problem(p))
	}
	return nil, nil, answer
}
