package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"fire/audit"
	"fire/audit/entry"
	"fire/audit/tlog"
	"fire/node/admin"
)

// incomplete is a verification that has found something missing, or not signed: exit code 4.
type incomplete struct{ text string }

func (e *incomplete) Error() string { return e.text }

// trusted reads the policy file that check and verify of a folder need.
func (c *call) trusted() (*tlog.Policy, error) {
	name := c.string("policy")
	if name == "" {
		return nil, usage("on a host of the floor, `fire audit policy` prints one", "--policy FILE is missing: without it anybody could have signed")
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("the policy: %w", err)
	}
	return tlog.ParsePolicy(b)
}

// checkedProof is the outcome of one file.
type checkedProof struct {
	File    string          `json:"file"`
	Verdict string          `json:"verdict"` // good, bad, cannot_tell
	Log     string          `json:"log,omitempty"`
	Index   *int64          `json:"index,omitempty"`
	Size    int64           `json:"size,omitempty"` // of the head
	Signers []string        `json:"signers,omitempty"`
	Why     string          `json:"why,omitempty"`
	Entry   json.RawMessage `json:"entry,omitempty"`
}

func auditCheck(_ context.Context, c *call) error {
	policy, err := c.trusted()
	if err != nil {
		return err
	}
	var all []checkedProof
	bad, unread := 0, 0
	for _, file := range c.args {
		p := checkProof(file, policy)
		switch p.Verdict {
		case "bad":
			bad++
		case "cannot_tell":
			unread++
		}
		all = append(all, p)
	}
	err = printList(c, "fire.audit.check/v1", all, []column[checkedProof]{
		{head: "VERDICT", cell: func(p checkedProof) string { return p.Verdict }},
		{head: "FILE", cell: func(p checkedProof) string { return p.File }},
		{head: "LOG", cell: func(p checkedProof) string { return dashed(p.Log) }},
		{head: "INDEX", right: true, cell: func(p checkedProof) string {
			if p.Index == nil {
				return "-"
			}
			return fmt.Sprint(*p.Index)
		}},
		{head: "SIGNED BY", cell: func(p checkedProof) string { return dashed(strings.Join(p.Signers, ",")) }},
		{head: "ENTRY", cell: func(p checkedProof) string {
			var e auditEntry
			_ = json.Unmarshal(p.Entry, &e) // there is none of a bad proof
			return dashed(strings.TrimSpace(p.Why + e.Kind + " " + e.what()))
		}},
	}, "")
	switch {
	case err != nil:
		return err
	case bad > 0:
		return &unhealthy{fmt.Sprintf("%d of %d proofs do not hold", bad, len(all))}
	case unread > 0:
		return fmt.Errorf("%d of %d files cannot be read", unread, len(all))
	}
	return nil
}

func checkProof(file string, policy *tlog.Policy) checkedProof {
	out := checkedProof{File: file, Verdict: "cannot_tell"}
	b, err := os.ReadFile(file)
	if err != nil {
		out.Why = err.Error()
		return out
	}
	p, head, err := tlog.Check(b, policy)
	if err != nil {
		out.Why = err.Error()
		if !errors.Is(err, tlog.ErrNoProof) {
			out.Verdict = "bad"
		}
		return out
	}
	out.Verdict, out.Log, out.Index, out.Size, out.Signers = "good", head.Origin, &p.Index, head.Size, policy.Signers(p.Checkpoint)
	if v, err := entry.Parse(p.Entry); err != nil {
		out.Why = "the proof holds, and the entry is of a later version: " + err.Error()
	} else {
		out.Entry = append(v.AppendJSON([]byte("{")), '}')
	}
	return out
}

func auditVerify(ctx context.Context, c *call) error {
	if len(c.args) == 0 {
		return asking(auditVerifyHere)(ctx, c)
	}
	policy, err := c.trusted()
	if err != nil {
		return err
	}
	disk, err := audit.OpenCopy(c.args[0])
	if err != nil {
		return err
	}
	known, err := policy.Logs()
	if err != nil {
		return err
	}
	v := audit.Verification{Disk: disk, Known: known}
	if at := c.string("head"); at != "" {
		if err := addHead(&v, at, known); err != nil {
			return err
		}
	}
	r, err := c.verify(ctx, v)
	if err != nil {
		return err
	}
	if c.string("head") == "" {
		r.Notes = append(r.Notes, "no head was given to hold it against: whether the end was cut nobody can tell; see --head")
	}
	return c.reports([]*audit.Report{r})
}

// addHead takes a folder with the head that lies away, or a file with a checkpoint.
func addHead(v *audit.Verification, at string, known *tlog.Verifiers) error {
	st, err := os.Stat(at)
	if err != nil {
		return err
	}
	if st.IsDir() {
		v.Away, err = audit.OpenCopy(at)
		return err
	}
	b, err := os.ReadFile(at)
	if err != nil {
		return err
	}
	h, err := known.Open(b)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	v.Heads = append(v.Heads, h)
	return nil
}

// auditVerifyHere reads the logs of the running process, each up to the head that it has told.
func auditVerifyHere(ctx context.Context, c *call, a *admin.Client) error {
	states, err := a.AuditStates(ctx)
	if err != nil {
		return err
	}
	if len(states) == 0 {
		return errors.New("this process keeps no audit log; name a folder")
	}
	var all []*audit.Report
	for _, s := range states {
		disk, err := audit.OpenCopy(s.Dir)
		if err != nil {
			return err
		}
		known, err := tlog.NewVerifiers(s.Keys...)
		if err != nil {
			return err
		}
		v := audit.Verification{Disk: disk, Known: known}
		if s.Head != "" {
			head, err := known.Open([]byte(s.Head))
			if err != nil {
				return err
			}
			v.Upto = &head
		}
		r, err := c.verify(ctx, v)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	return c.reports(all)
}

// verify shows how far it has come, on a terminal.
func (c *call) verify(ctx context.Context, v audit.Verification) (*audit.Report, error) {
	last := time.Now()
	v.Progress = func(n, of int64) {
		if time.Since(last) > time.Second {
			last = time.Now()
			c.say("%d entries read, about %d %%", n, min(99, n*100/max(1, of)))
		}
	}
	v.Workers = 1
	return audit.Verify(ctx, v)
}

func (c *call) reports(all []*audit.Report) error {
	err := printList(c, "fire.audit.verify/v1", all, []column[*audit.Report]{
		{head: "VERDICT", cell: func(r *audit.Report) string { return string(r.Verdict) }},
		{head: "LOG", cell: func(r *audit.Report) string { return dashed(r.Origin) }},
		{head: "ENTRIES", right: true, cell: func(r *audit.Report) string { return fmt.Sprint(r.Size) }},
		{head: "READ", right: true, cell: func(r *audit.Report) string { return fmt.Sprint(r.Entries) }},
		{head: "SIGNED AT", cell: func(r *audit.Report) string { return r.HeadAt.Format(time.RFC3339Nano) }},
		{head: "ROOT", cell: func(r *audit.Report) string { return r.Root }},
	}, "")
	if err != nil {
		return err
	}
	worst := audit.Good
	for _, r := range all {
		for _, f := range r.Faults {
			c.say("%s: %v", r.Origin, f)
		}
		for _, n := range r.Notes {
			c.say("%s: note: %s", r.Origin, n)
		}
		worst = worse(worst, r.Verdict)
	}
	switch worst {
	case audit.IsTampered:
		return &unhealthy{"the log was changed"}
	case audit.IsIncomplete:
		return &incomplete{"the log is not whole"}
	case audit.CannotTell:
		return errors.New("the log cannot be read whole")
	}
	return nil
}

func worse(a, b audit.Verdict) audit.Verdict {
	order := []audit.Verdict{audit.Good, audit.CannotTell, audit.IsIncomplete, audit.IsTampered}
	for i := len(order) - 1; i >= 0; i-- {
		if a == order[i] || b == order[i] {
			return order[i]
		}
	}
	return a
}
