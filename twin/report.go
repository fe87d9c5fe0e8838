package twin

import (
	"time"

	"fire/transport/meter"
)

// Report is what one node says about itself every 250 ms. All counts are deltas
// since the node's previous report, so a lost report loses counts, never sense.
type Report struct {
	Node string    `json:"node"`
	Boot uint64    `json:"boot,omitempty"` // random per process start; 0: a restart is guessed from Seq and At
	Seq  uint64    `json:"seq"`            // 1, 2, 3 ... within a Boot; 0: not numbered, counts as it comes
	At   time.Time `json:"at"`             // the node's clock, only ever used to show its offset; zero: unknown

	Edges    []EdgeDelta   `json:"edges,omitempty"`
	Sessions []SessionFact `json:"sessions,omitempty"` // all open sessions, not a delta

	Happened   []Happening `json:"happened,omitempty"`   // since the last report, HappenedMax at most
	Unhappened uint64      `json:"unhappened,omitempty"` // how many more found no room
}

// The two ends of an edge. The client proxy reports "out", the server proxy "in".
const (
	SideOut = "out"
	SideIn  = "in"
)

// Protocols of edges that go past the proxies, over a direct path.
const (
	ProtocolShm       = "shm"       // shared memory of one host
	ProtocolUDP       = "udp"       // encrypted datagrams from host to host
	ProtocolMulticast = "multicast" // the same to many at once
	ProtocolSession   = "quic"      // the same where no datagram gets through
)

// DirectProtocol tells whether an edge of that protocol goes past the proxies.
func DirectProtocol(p string) bool {
	switch p {
	case ProtocolShm, ProtocolUDP, ProtocolMulticast, ProtocolSession:
		return true
	}
	return false
}

// EdgeDelta is what one side saw of one edge since the node's previous report.
type EdgeDelta struct {
	Src      string `json:"src"`
	Dst      string `json:"dst"`
	Side     string `json:"side"`
	Protocol string `json:"protocol,omitempty"`
	Peer     string `json:"peer,omitempty"` // the other node, when the side counts per node
	Secured  bool   `json:"secured"`

	Requests uint64 `json:"requests,omitempty"`
	Errors   uint64 `json:"errors,omitempty"`
	BytesOut uint64 `json:"bytes_out,omitempty"`
	BytesIn  uint64 `json:"bytes_in,omitempty"`
	Opened   uint64 `json:"opened,omitempty"`
	Closed   uint64 `json:"closed,omitempty"`
	Refused  uint64 `json:"refused,omitempty"`
	Active   int64  `json:"active,omitempty"` // a gauge

	Reasons map[string]uint64  `json:"reasons,omitempty"` // reason.Code name to count
	Latency meter.HistSnapshot `json:"latency"`
	Connect meter.HistSnapshot `json:"connect"`
}

// SessionFact is one open QUIC session of the reporting node.
type SessionFact struct {
	Peer    string        `json:"peer"` // the other node
	Class   string        `json:"class"`
	RTT     time.Duration `json:"rtt_ns"`
	Streams int64         `json:"streams"`
	Since   time.Time     `json:"since"`
}

// Inventory is what control knows to exist, whether or not traffic flows.
type Inventory struct {
	Version   uint64
	Floor     uint64 // version of the applied floor file
	Nodes     []InventoryNode
	Services  []InventoryService
	Endpoints []InventoryEndpoint
}

// InventoryNode is one member of the mesh. Linked: control holds its session.
type InventoryNode struct {
	Name, Region, Zone, Addr, Release string
	Roles                             []string
	Linked, Draining                  bool
	CertNotAfter                      time.Time
}

// InventoryService is one declared service and where it may run.
type InventoryService struct {
	Name, Protocol, Class, Description string
	Port                               uint16
	Nodes                              []string
}

// InventoryEndpoint is one instance. Linked and Healthy are separate facts: the
// lease is held, and the application answers its check.
type InventoryEndpoint struct {
	Service, Node             string
	Epoch                     uint64
	Linked, Healthy, Draining bool
	Why                       string
}
