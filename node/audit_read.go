package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"fire/audit/entry"
	"fire/audit/inquiry"
	"fire/audit/order"
	"fire/audit/tlog"
	"fire/node/admin"
	"fire/policy/reason"
)

// logsOf are the audit logs of a process: its hosts', and its control's.
func logsOf(hosts []*host, ledger *auditLog) (out []*auditLog) {
	for _, h := range hosts {
		if h.audit != nil {
			out = append(out, h.audit)
		}
	}
	if ledger != nil && !slices.Contains(out, ledger) {
		out = append(out, ledger)
	}
	return out
}

func (l *local) audits() []*auditLog { return logsOf(l.hosts, l.ledger) }

// AuditStates lists them.
func (l *local) AuditStates(context.Context) ([]admin.AuditState, error) {
	out := []admin.AuditState{}
	for _, a := range l.audits() {
		out = append(out, a.state())
	}
	return out, nil
}

func (a *auditLog) state() admin.AuditState {
	head, note := a.log.Head()
	st := a.log.Stat()
	s := admin.AuditState{Node: inquiry.NodeOf(a.log.Origin()), Log: a.log.Origin(), Dir: a.dir, HeadDir: a.headDir, Keys: a.keys.Load().Known,
		Minimum: a.log.Minimum(), Size: head.Size, Root: head.Root.String(), HeadAt: st.HeadAt, Head: string(note),
		Captured: st.Captured, Durable: st.Durable, Covered: st.Durable, NoRoom: st.NoRoom, Unentered: st.Unentered, Refused: st.Refused, Gaps: st.Gaps,
		Groups: st.Groups, Bytes: st.Bytes, Failures: st.Failures, StalledMS: float64(st.Stalled) / float64(time.Millisecond), Trouble: st.Trouble,
		Segments: st.Segments, DiskBytes: st.DiskBytes}
	if st.Captured > st.Durable {
		s.Lag = st.Captured - st.Durable
	}
	s.Witness, s.Cosigned, s.WitnessProblem = a.cosign.status()
	scrubs := a.keeper.Scrubs()
	if at := scrubs.Good.Load(); at != 0 {
		s.ScrubbedAt = time.Unix(0, at).UTC()
	}
	s.ScrubsBad = scrubs.Bad.Load()
	if f := scrubs.Fault.Load(); f != nil {
		s.ScrubFault = f.Error()
	}
	_, bound, _, _ := a.clock.Stamp()
	if s.ClockBoundNanos = int64(bound); bound == entry.BoundUnknown {
		s.ClockBoundNanos = -1
	}
	_, s.ClockBreach = a.clock.State()
	return s
}

// Audit answers what the owner asks. Who has asked what is an entry, and it is there before the
// answer.
func (l *local) Audit(ctx context.Context, what string, body []byte, by string) (any, error) {
	if len(l.audits()) == 0 {
		return nil, reason.New(reason.NoSuchNode, "this process keeps no audit log: [audit] enabled is false, or it has neither the proxy nor the direct role")
	}
	answer, object, err := l.answer(what, body, by)
	if err != nil {
		return nil, err
	}
	if err := l.ledger.acted(ctx, admin.Act{By: by, Verb: "audit " + what, Change: true}, object); err != nil {
		return nil, err
	}
	return answer(ctx)
}

// answer is how a question is answered, and what it is about.
func (l *local) answer(what string, body []byte, by string) (answer func(context.Context) (any, error), object string, err error) {
	switch what {
	case "entries":
		q, err := decoded[admin.AuditEntries](body)
		return func(ctx context.Context) (any, error) { return l.entries(ctx, q) }, fmt.Sprintf("%d from %d", q.Most, q.From), err
	case "trace":
		q, err := decoded[admin.AuditTrace](body)
		return func(ctx context.Context) (any, error) {
			return l.desk().Trace(ctx, order.Query{ClOrdID: q.ClOrdID, From: q.From, To: q.To, Party: q.Party})
		}, q.ClOrdID, err
	case "prove":
		q, err := decoded[admin.AuditPlace](body)
		return func(ctx context.Context) (any, error) { return l.prove(ctx, q) }, fmt.Sprintf("%s %d", q.Log, q.Index), err
	case "search":
		q, err := decoded[admin.AuditSearch](body)
		return func(ctx context.Context) (any, error) { return l.search(ctx, q) }, q.Query, err
	case "policy":
		q, err := decoded[admin.AuditTrust](body)
		return func(context.Context) (any, error) { return l.trust(q) }, q.Node, err
	case "day":
		q, err := decoded[admin.AuditDay](body)
		return func(ctx context.Context) (any, error) { return l.clockDay(ctx, q) }, q.Day, err
	}
	return l.auditChange(what, body, by)
}

// auditChange is the same for what changes a log's keeping.
func (l *local) auditChange(what string, body []byte, by string) (answer func(context.Context) (any, error), object string, err error) {
	switch what {
	case "hold":
		q, err := decoded[admin.AuditHold](body)
		return func(ctx context.Context) (any, error) { return l.hold(ctx, q, by) }, q.Do + " " + q.Name, err
	case "erase":
		q, err := decoded[admin.AuditErase](body)
		return func(ctx context.Context) (any, error) { return l.erase(ctx, q, by) }, "", err // not the name: it is what goes
	case "scrub":
		return func(ctx context.Context) (any, error) { return l.scrub(ctx) }, "", nil
	case "rotate":
		q, err := decoded[admin.AuditRotate](body)
		return func(ctx context.Context) (any, error) { return l.rotate(ctx, q, by) }, q.Do, err
	}
	return nil, "", &admin.Error{Reason: "usage", Message: fmt.Sprintf("the audit log answers nothing to %q", what)}
}

func decoded[T any](body []byte) (q T, err error) {
	if err := json.Unmarshal(body, &q); err != nil {
		return q, &admin.Error{Reason: "usage", Message: "the request cannot be read: " + err.Error()}
	}
	return q, nil
}

// entriesMax bounds one page.
const entriesMax = 10_000

func (l *local) entries(ctx context.Context, q admin.AuditEntries) (*admin.AuditPage, error) {
	if q.Most <= 0 || q.Most > entriesMax {
		return nil, &admin.Error{Reason: "usage", Message: fmt.Sprintf("%d entries at once; 1 to %d", q.Most, entriesMax)}
	}
	type line struct {
		at   int64
		json []byte
	}
	var lines []line
	page := &admin.AuditPage{Next: map[string]int64{}, Entries: []json.RawMessage{}}
	for _, a := range l.audits() {
		origin := a.log.Origin()
		if q.Node != "" && q.Node != inquiry.NodeOf(origin) && q.Node != origin {
			continue
		}
		head, _ := a.log.Head()
		from := q.From
		if after, ok := q.After[origin]; ok {
			from = after
		} else if from < 0 {
			from = max(0, head.Size+from)
		}
		to := min(head.Size, from+int64(q.Most))
		if err := a.log.Range(ctx, from, to, func(i int64, e []byte) error {
			v, err := entry.Parse(e)
			if err != nil {
				return fmt.Errorf("entry %d of %s: %w", i, origin, err)
			}
			lines = append(lines, line{v.Head().Time, inquiry.AppendJSON(nil, origin, i, v)})
			return nil
		}); err != nil {
			return nil, err
		}
		page.Next[origin] = max(to, from)
	}
	if len(page.Next) == 0 {
		return nil, reason.New(reason.NoSuchNode, "no audit log of %q is here", q.Node)
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	for _, line := range lines {
		page.Entries = append(page.Entries, line.json)
	}
	return page, nil
}

func (l *local) prove(ctx context.Context, q admin.AuditPlace) (*admin.AuditProof, error) {
	p, err := l.desk().Prove(ctx, q.Log, q.Index)
	if err != nil {
		return nil, err
	}
	head, err := tlog.Claimed(p.Checkpoint)
	if err != nil {
		return nil, err
	}
	v, err := entry.Parse(p.Entry)
	if err != nil {
		return nil, err
	}
	return &admin.AuditProof{AuditPlace: admin.AuditPlace{Log: head.Origin, Index: p.Index}, Entry: inquiry.AppendJSON(nil, head.Origin, p.Index, v), Proof: p.Format()}, nil
}

// cosigned is cosignedFor of the log of that origin.
func (l *local) cosigned(ctx context.Context, origin string, index int64) []byte {
	for _, a := range l.audits() {
		if a.log.Origin() == origin {
			return a.cosignedFor(ctx, index)
		}
	}
	return nil
}

// cosignWithin is how long a proof waits for a cosigned head that covers its entry.
const cosignWithin = 3 * time.Second

// cosignedFor is a checkpoint that the witness has cosigned and that covers an entry, nil where there
// is none within a while.
func (a *auditLog) cosignedFor(ctx context.Context, index int64) []byte {
	ctx, cancel := context.WithTimeout(ctx, cosignWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		head, note := a.cosign.cosigned()
		if head.Size > index {
			return note
		}
		if key, _, problem := a.cosign.status(); key == "" || problem != "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// trust is the policy of this process's logs: their keys, and the witnesses whose cosignatures are
// looked at, or wanted.
func (l *local) trust(q admin.AuditTrust) (admin.AuditPolicy, error) {
	text, names, seen := "", []string{}, map[string]bool{}
	for _, a := range l.audits() {
		if q.Node != "" && q.Node != a.node() && q.Node != a.log.Origin() {
			continue
		}
		for _, k := range a.keys.Load().Known {
			text += "log " + k + "\n"
		}
		key, _, _ := a.cosign.status()
		if key == "" && q.Witness {
			return admin.AuditPolicy{}, reason.New(reason.NoSuchNode, "nobody cosigns the log of %s; name others with --node", a.node())
		}
		if key != "" && !seen[key] {
			seen[key] = true
			names = append(names, fmt.Sprintf("witness-%d", len(names)+1))
			text += "witness " + names[len(names)-1] + " " + key + "\n"
		}
	}
	switch {
	case text == "":
		return admin.AuditPolicy{}, reason.New(reason.NoSuchNode, "no audit log of %q is here", q.Node)
	case q.Witness:
		text += "group witnesses any " + strings.Join(names, " ") + "\nquorum witnesses\n"
	default:
		text += "quorum none\n"
	}
	return admin.AuditPolicy{Policy: text}, nil
}
