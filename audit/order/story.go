package order

// Verdict is what came of a message on its way.
type Verdict string

// The verdicts, the gravest first: of a message that is several of these the first is given.
const (
	Changed      Verdict = "changed"      // the bytes that left one hop did not reach the next, or a copy says something else
	Missing      Verdict = "missing"      // one end of a flow saw it, the other did not
	Incomparable Verdict = "incomparable" // digests of different things: one hop seals what another does not, or has none
	Resent       Verdict = "resent"       // a copy of an earlier one, the same at every hop that it passed
	NotSearched  Verdict = "not_searched" // the log of the flow's other end is not among those that were searched
	Unchanged    Verdict = "unchanged"
	Single       Verdict = "single" // seen at one hop, where no other is expected
)

// Result is what a search found.
type Result struct {
	ClOrdID    string     `json:"cl_ord_id"`
	Orders     []Story    `json:"orders"`     // more than one where several sessions use the identifier
	Conflicts  []Conflict `json:"conflicts"`  // logs that show two entries at one index
	Incomplete bool       `json:"incomplete"` // the search had to end early
}

// Conflict is an index at which a log shows two different entries: one of them is false.
type Conflict struct {
	Origin string `json:"origin"`
	Index  int64  `json:"index"`
}

// Story is one order's way through the floor.
type Story struct {
	ClOrdID string   `json:"cl_ord_id"`
	State   string   `json:"state"`    // of the order's first session
	Verdict Verdict  `json:"verdict"`  // the gravest of its messages
	Legs    []Leg    `json:"legs"`     // the order in each session that it went through
	Steps   []Step   `json:"messages"` // in the order in which they were sent
	Notes   []string `json:"notes,omitempty"`
}

// Leg is the order in one session.
type Leg struct {
	Buyer         string   `json:"buyer"`
	Seller        string   `json:"seller"`
	BuyerService  string   `json:"service,omitempty"`
	SellerService string   `json:"peer,omitempty"`
	From          *int     `json:"from_leg,omitempty"` // the leg that this one carries on
	JoinedBy      []By     `json:"joined_by,omitempty"`
	ClOrdIDs      []string `json:"cl_ord_ids"`
	OrderIDs      []string `json:"order_ids"`
	State         string   `json:"state"`
	OrdStatus     string   `json:"ord_status,omitempty"`
	Uncertain     bool     `json:"state_uncertain,omitempty"` // which of its last reports is the newer one
	Filled        string   `json:"filled_qty,omitempty"`      // CumQty of the newest report that says it
	Leaves        string   `json:"leaves_qty,omitempty"`
	Fills         []Fill   `json:"fills"`
	FirstNanos    int64    `json:"first_time_utc_ns"`
	LastNanos     int64    `json:"last_time_utc_ns"`
}

// Fill is an execution, as the content of its report has it.
type Fill struct {
	Message  int    `json:"message"` // position in Story.Steps
	ExecID   string `json:"exec_id"`
	Kind     string `json:"kind"` // "trade", "correct", "cancel"
	Qty      string `json:"last_qty"`
	Price    string `json:"last_px,omitempty"`
	CumQty   string `json:"cum_qty,omitempty"`
	Leaves   string `json:"leaves_qty,omitempty"`
	TimeUTC  string `json:"time"`
	UTCNanos int64  `json:"time_utc_ns"`
}

// Step is one message on its way.
type Step struct {
	Position      int        `json:"position"`
	Leg           *int       `json:"leg,omitempty"` // none: it is of the session, not of the order
	MsgType       string     `json:"msg_type"`
	SeqNum        uint64     `json:"msg_seq_num"`
	NewSeqNum     uint64     `json:"new_seq_no,omitempty"`
	Epoch         int        `json:"session_epoch"`
	Sender        string     `json:"sender"`
	Target        string     `json:"target"`
	ClOrdID       string     `json:"cl_ord_id,omitempty"`
	OrigClOrdID   string     `json:"orig_cl_ord_id,omitempty"`
	OrderID       string     `json:"order_id,omitempty"`
	ExecID        string     `json:"exec_id,omitempty"`
	Symbol        string     `json:"symbol,omitempty"`
	ExecType      string     `json:"exec_type,omitempty"`
	OrdStatus     string     `json:"ord_status,omitempty"`
	SentAt        string     `json:"sending_time,omitempty"`
	FirstSentAt   string     `json:"orig_sending_time,omitempty"`
	Marks         []string   `json:"marks,omitempty"`
	Direction     string     `json:"direction,omitempty"`
	Time          string     `json:"time"`
	UTCNanos      int64      `json:"time_utc_ns"`
	Bound         *int64     `json:"error_bound_ns"` // null: nobody knows
	UncertainWith []int      `json:"order_uncertain_with,omitempty"`
	CopyOf        *int       `json:"copy_of,omitempty"`
	FilledBy      []int      `json:"gap_filled_by,omitempty"` // messages that stood in for this one when it was asked for again
	Verdict       Verdict    `json:"verdict"`
	Sentence      string     `json:"sentence"`
	Hops          []Hop      `json:"hops"`
	Latencies     []Latency  `json:"latencies,omitempty"`
	FIXHops       []TrailHop `json:"fix_hops,omitempty"` // 627 to 630: the message's own word
	Notes         []string   `json:"notes,omitempty"`
}

// Hop is a message at one place. One that is expected and not found has no index.
type Hop struct {
	Label     string  `json:"label"`
	Origin    string  `json:"origin,omitempty"`
	Index     *int64  `json:"index"`
	Node      string  `json:"node,omitempty"`
	Hop       string  `json:"hop"`
	Direction string  `json:"direction,omitempty"`
	Service   string  `json:"service,omitempty"`
	Peer      string  `json:"peer,omitempty"`
	Principal string  `json:"principal,omitempty"`
	Channel   string  `json:"channel,omitempty"`
	Protocol  string  `json:"protocol,omitempty"`
	Flow      string  `json:"flow,omitempty"`
	Rule      string  `json:"rule,omitempty"`
	Bundle    string  `json:"bundle,omitempty"`
	Reason    string  `json:"reason,omitempty"`
	DigestIn  string  `json:"digest_in,omitempty"`
	DigestOut string  `json:"digest_out,omitempty"`
	Sealed    bool    `json:"sealed,omitempty"` // the digests are of the message without its personal values
	Bytes     uint64  `json:"bytes,omitempty"`
	Time      string  `json:"time,omitempty"`
	UTCNanos  *int64  `json:"time_utc_ns"`
	Bound     *int64  `json:"error_bound_ns"`
	Clock     string  `json:"clock,omitempty"`
	ClockSync string  `json:"clock_sync,omitempty"`
	Source    string  `json:"source,omitempty"`
	SourceSeq uint64  `json:"source_seq,omitempty"`
	Verdict   Verdict `json:"verdict"` // beside the hop before
}

// Latency is the time between two hops. It is certain that it was not 0, and which was first,
// where the bound is smaller than it.
type Latency struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Nanos   int64  `json:"latency_ns"`
	Bound   *int64 `json:"error_bound_ns"` // both clocks' bounds together; 0 of one and the same log
	Certain bool   `json:"certain"`
}
