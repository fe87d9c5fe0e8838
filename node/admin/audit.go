package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// AuditState is what is known of one audit log of this process at any time, also while its disk
// hangs.
type AuditState struct {
	Node      string    `json:"node"`
	Log       string    `json:"log"` // C2SP origin
	Dir       string    `json:"dir"`
	HeadDir   string    `json:"head_dir"`
	Keys      []string  `json:"keys"` // public, the newest first
	Minimum   int64     `json:"minimum"`
	Size      int64     `json:"size"` // durable and signed entries
	Root      string    `json:"root"`
	HeadAt    time.Time `json:"head_time"`
	Head      string    `json:"checkpoint"`
	Captured  uint64    `json:"captured"` // since the start of the process
	Durable   uint64    `json:"durable"`
	Covered   uint64    `json:"covered"` // by a signed head
	Lag       uint64    `json:"lag"`     // captured and not durable yet
	NoRoom    uint64    `json:"no_room"` // times that a ring was full
	Unentered uint64    `json:"unentered"`
	Refused   uint64    `json:"refused"`
	Gaps      uint64    `json:"gaps"` // entries that say so
	Groups    uint64    `json:"groups"`
	Bytes     uint64    `json:"bytes"`
	Failures  uint64    `json:"disk_failures"`
	StalledMS float64   `json:"stalled_ms"` // for so long the disk has taken nothing
	Trouble   string    `json:"trouble,omitempty"`
	Segments  int       `json:"segments"`
	DiskBytes int64     `json:"disk_bytes"`

	Witness        string `json:"witness,omitempty"` // public key of who cosigns the log's heads
	Cosigned       int64  `json:"cosigned"`          // entries of the newest head that it has
	WitnessProblem string `json:"witness_problem,omitempty"`

	ScrubbedAt      time.Time `json:"last_full_verify"` // when the whole log was last read again and found good
	ScrubsBad       uint64    `json:"verify_failures"`
	ScrubFault      string    `json:"verify_fault,omitempty"`
	ClockBoundNanos int64     `json:"clock_error_bound_ns"` // -1: nobody knows
	ClockBreach     bool      `json:"clock_beyond_class"`
}

// AuditEntries asks for entries by their place in a log.
type AuditEntries struct {
	Node string `json:"node,omitempty"` // one log; "": all
	From int64  `json:"from"`           // below 0: counted from the end
	Most int    `json:"most"`
	// After is where an earlier answer has ended, by log.
	After map[string]int64 `json:"after,omitempty"`
}

// AuditPage is some entries, oldest first.
type AuditPage struct {
	Entries []json.RawMessage `json:"entries"`
	Next    map[string]int64  `json:"next"` // by log: what was not read yet begins there
}

// AuditSearch asks for entries by the text of a query (audit/index).
type AuditSearch struct {
	Query  string `json:"query"`
	Cursor string `json:"cursor,omitempty"` // where an earlier answer has ended
}

// AuditFound is what a search has found.
type AuditFound struct {
	Entries  []json.RawMessage `json:"entries"`
	More     bool              `json:"more"`
	Cursor   string            `json:"cursor,omitempty"`
	Complete bool              `json:"complete"` // of what was durable in every log when it was asked
	Covered  []string          `json:"covered"`
}

// AuditTrace asks for one order's way.
type AuditTrace struct {
	ClOrdID string `json:"cl_ord_id"`
	From    int64  `json:"from_utc_ns,omitempty"`
	To      int64  `json:"to_utc_ns,omitempty"`
	Party   string `json:"party,omitempty"`
}

// AuditPlace is one entry.
type AuditPlace struct {
	Log   string `json:"log"` // origin, or host
	Index int64  `json:"index"`
}

// AuditProof is the proof of one entry.
type AuditProof struct {
	AuditPlace
	Entry json.RawMessage `json:"entry"`
	Proof []byte          `json:"proof"` // a C2SP tlog-proof file
}

// AuditHold sets a legal hold, lifts one, or asks for those in force.
type AuditHold struct {
	Do   string    `json:"do"` // "set", "lift", "list"
	Name string    `json:"name,omitempty"`
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	Why  string    `json:"why,omitempty"`
}

// AuditHeld is one that is in force.
type AuditHeld struct {
	Node string    `json:"node"`
	Name string    `json:"name"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	By   string    `json:"by"`
	Why  string    `json:"why"`
	Set  time.Time `json:"set"`
}

// AuditErase destroys the key of a person in every log of the process.
type AuditErase struct {
	Subject string `json:"subject"` // the person's name, such as an account
	Why     string `json:"why"`
}

// AuditErased is what became of it in one log.
type AuditErased struct {
	Node    string `json:"node"`
	Subject string `json:"subject,omitempty"` // the id in entries
	Erased  bool   `json:"erased"`            // false: that log knows nobody of the name
	Index   int64  `json:"index"`             // of the entry that says so
}

// AuditDay asks for the report of one day of the clocks.
type AuditDay struct {
	Day   string `json:"day"` // 2026-11-27
	Class string `json:"class,omitempty"`
}

// AuditScrubbed is what reading a whole log again has found.
type AuditScrubbed struct {
	Node    string `json:"node"`
	Verdict string `json:"verdict"`
	Entries int64  `json:"entries_read"`
	Fault   string `json:"fault,omitempty"`
}

// AuditRotate gives every log a new key, or ends the overlap with the old one.
type AuditRotate struct {
	Do string `json:"do"` // "begin", "settle"
}

// AuditKeys are the keys of one log.
type AuditKeys struct {
	Node    string   `json:"node"`
	Signing []string `json:"signing"` // public halves
	Known   []string `json:"known"`
}

// AuditTrust asks for a policy.
type AuditTrust struct {
	Node    string `json:"node,omitempty"` // of one log; "": of all
	Witness bool   `json:"witness"`        // a head must be cosigned, too
}

// AuditPolicy is the trust policy of this process's logs.
type AuditPolicy struct {
	Policy string `json:"policy"` // C2SP tlog-policy
}

// auditAnswer serves what only the owner may ask: messages are nobody else's.
func (s *Server) auditAnswer(w http.ResponseWriter, r *http.Request) {
	uid, ok := s.permitted(w, r)
	if !ok {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, BodyBytesMax))
	if err != nil {
		reply(w, nil, &Error{Reason: "usage", Message: "the request cannot be read: " + err.Error()})
		return
	}
	v, err := s.local.Audit(r.Context(), r.PathValue("what"), body, by(uid))
	reply(w, v, err)
}

// AuditStates lists the process's audit logs.
func (c *Client) AuditStates(ctx context.Context) ([]AuditState, error) {
	return local[[]AuditState](ctx, c, "/v1/local/audit")
}

// Audit asks of the audit logs, undecoded; the process itself knows who asks.
func (c *Client) Audit(ctx context.Context, what string, body []byte, _ string) (any, error) {
	return AskAudit[json.RawMessage](ctx, c, what, json.RawMessage(body))
}

// AskAudit asks of the process's audit logs.
func AskAudit[T any](ctx context.Context, c *Client, what string, q any) (T, error) {
	return post[T](ctx, c, "/v1/local/audit/"+what, q)
}
