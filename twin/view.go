package twin

import "time"

// State is the health of an edge, a service or a node.
type State string

const (
	StateOK    State = "ok"
	StateWarn  State = "warn"
	StateError State = "error"
	StateIdle  State = "idle"
)

// Snapshot is the whole live graph at one moment. It is immutable: a reader may
// keep it as long as it likes and must not write to it. Every list is sorted.
type Snapshot struct {
	Version uint64    `json:"version"`
	At      time.Time `json:"at"`
	Started time.Time `json:"started"`

	InventoryVersion uint64 `json:"inventory_version"`
	FloorVersion     uint64 `json:"floor_version"`

	Nodes    []NodeView    `json:"nodes"`
	Services []ServiceView `json:"services"`
	Edges    []EdgeView    `json:"edges"`
	Events   []Event       `json:"events"` // oldest first, at most EventsMax
	Intake   Intake        `json:"intake"`
}

// NodeView is one host.
type NodeView struct {
	Name         string        `json:"name"`
	Region       string        `json:"region,omitempty"`
	Zone         string        `json:"zone,omitempty"`
	Addr         string        `json:"addr,omitempty"`
	Release      string        `json:"release,omitempty"`
	Roles        []string      `json:"roles,omitempty"`
	Known        bool          `json:"known"` // control's inventory has it
	Linked       bool          `json:"linked"`
	Draining     bool          `json:"draining"`
	Reporting    bool          `json:"reporting"` // a report came within Config.StaleAfter
	State        State         `json:"state"`
	Why          string        `json:"why,omitempty"`
	LastReport   time.Time     `json:"last_report,omitzero"`
	ClockOffset  time.Duration `json:"clock_offset_ns"` // the node's clock minus control's, as of the last report
	CertNotAfter time.Time     `json:"cert_not_after,omitzero"`
	Sessions     []SessionFact `json:"sessions,omitempty"`
}

// ServiceView is one service with its instances.
type ServiceView struct {
	Name        string         `json:"name"`
	Protocol    string         `json:"protocol,omitempty"`
	Class       string         `json:"class,omitempty"`
	Description string         `json:"description,omitempty"`
	Port        uint16         `json:"port,omitempty"`
	Declared    bool           `json:"declared"` // false: seen in traffic only
	State       State          `json:"state"`
	Why         string         `json:"why,omitempty"`
	Endpoints   []EndpointView `json:"endpoints"`
}

// EndpointView is one instance of a service. Observed: a node reported traffic of
// the service although no endpoint is registered there (a client only).
type EndpointView struct {
	Node     string `json:"node"`
	Epoch    uint64 `json:"epoch,omitempty"`
	Linked   bool   `json:"linked"`
	Healthy  bool   `json:"healthy"`
	Draining bool   `json:"draining"`
	Observed bool   `json:"observed"`
	State    State  `json:"state"`
	Why      string `json:"why,omitempty"`
}

// EdgeView is the traffic from one service to another. The figures at the top are
// the client's, since that is the latency the caller feels; they are the server's
// when no client reports.
type EdgeView struct {
	Src      string `json:"src"`
	Dst      string `json:"dst"`
	Protocol string `json:"protocol,omitempty"`

	RatePerSecond   float64       `json:"rate_per_second"`
	ErrorsPerSecond float64       `json:"errors_per_second"`
	ErrorRatio      float64       `json:"error_ratio"`
	P50             time.Duration `json:"p50_ns"`
	P99             time.Duration `json:"p99_ns"`
	P999            time.Duration `json:"p999_ns"`
	BytesPerSecond  float64       `json:"bytes_per_second"`
	Active          int64         `json:"active"`
	Secured         bool          `json:"secured"`

	State     State     `json:"state"`
	Why       []string  `json:"why,omitempty"`        // one line per cause, worst first
	TopReason string    `json:"top_reason,omitempty"` // the most frequent reason code of the last 10 s
	Stale     bool      `json:"stale"`                // no side has reported for Config.StaleAfter
	LastSeen  time.Time `json:"last_seen"`            // last request, byte or connection
	Since     time.Time `json:"since"`                // State holds since then

	Client *SideView  `json:"client,omitempty"`
	Server *SideView  `json:"server,omitempty"`
	Paths  []PathView `json:"paths"`

	history []Point
}

// Key is "src>dst".
func (e *EdgeView) Key() string { return e.Src + ">" + e.Dst }

// History is the last 60 s, one Point a second, oldest first; shorter for a young
// edge. It must not be written to.
func (e *EdgeView) History() []Point { return e.history }

// SideView is what all nodes on one side of an edge saw together.
type SideView struct {
	Nodes             []string      `json:"nodes"`
	RatePerSecond     float64       `json:"rate_per_second"`
	ErrorsPerSecond   float64       `json:"errors_per_second"`
	RefusedPerSecond  float64       `json:"refused_per_second"`
	OpenedPerSecond   float64       `json:"opened_per_second"`
	BytesOutPerSecond float64       `json:"bytes_out_per_second"`
	BytesInPerSecond  float64       `json:"bytes_in_per_second"`
	Active            int64         `json:"active"`
	P50               time.Duration `json:"p50_ns"`
	P99               time.Duration `json:"p99_ns"`
	P999              time.Duration `json:"p999_ns"`
	ConnectP99        time.Duration `json:"connect_p99_ns"`
	Requests          uint64        `json:"requests_total"` // since the edge appeared
	Errors            uint64        `json:"errors_total"`
	Reasons           []ReasonCount `json:"reasons,omitempty"` // last 10 s, most frequent first
}

// ReasonCount is how often a reason occurred.
type ReasonCount struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// PathView is the part of an edge between two nodes. Guessed: neither side counts
// per node, so the share is split by what each server node reported.
type PathView struct {
	From          string  `json:"from"`
	To            string  `json:"to"`
	RatePerSecond float64 `json:"rate_per_second"`
	State         State   `json:"state"`
	Guessed       bool    `json:"guessed,omitempty"`
}

// Point is one second of an edge's history.
type Point struct {
	RatePerSecond   float64       `json:"rate_per_second"`
	ErrorsPerSecond float64       `json:"errors_per_second"`
	P99             time.Duration `json:"p99_ns"`
}

// Intake says what came in and what was refused, so that a gap on the map can be
// told from silence on the floor.
type Intake struct {
	Reports    uint64 `json:"reports_total"`
	Dropped    uint64 `json:"dropped_total"`    // queue full
	Duplicates uint64 `json:"duplicates_total"` // Seq seen before, or too old to tell
	Refused    uint64 `json:"refused_total"`    // malformed names or impossible values
	OverEdges  uint64 `json:"over_edges_total"` // beyond Config.EdgesMax
	OverNodes  uint64 `json:"over_nodes_total"` // beyond Config.NodesMax
	Restarts   uint64 `json:"restarts_total"`
	Latest     string `json:"latest_refusal,omitempty"`
}
