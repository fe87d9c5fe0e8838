package admin

import (
	"context"
	"net/url"
	"time"
)

// Reader answers questions about the whole mesh. The control role answers them in
// process; elsewhere a Remote asks control over the node's link.
type Reader interface {
	Status(ctx context.Context) (Status, error)
	Services(ctx context.Context) ([]Service, error)
	Edges(ctx context.Context) ([]Edge, error)
	Events(ctx context.Context) ([]Event, error)
	Why(ctx context.Context, src, dst string) (Why, error)
	PolicyTry(ctx context.Context, q PolicyQuery) (PolicyVerdict, error)
	CA(ctx context.Context) (CA, error)
}

// Changer changes the mesh. Only a control role has one.
type Changer interface {
	Apply(ctx context.Context, r ApplyRequest) (ApplyResult, error)
	Rollback(ctx context.Context, r RollbackRequest) (ApplyResult, error)
	CreateToken(ctx context.Context, r TokenRequest) (TokenAnswer, error)
	Tokens(ctx context.Context) ([]TokenInfo, error)
	Revoke(ctx context.Context, r RevokeRequest) (RevokeAnswer, error)
	Drain(ctx context.Context, r DrainRequest) (DrainAnswer, error)
	RotateCA(ctx context.Context, r RotateRequest) (CA, error)
}

// Local answers for this process alone.
type Local interface {
	Info(ctx context.Context) (Info, error)
	Flows(ctx context.Context) ([]Flow, error)
	Refusals(ctx context.Context) ([]Refusal, error)
	// Direct reads of the direct role; node/direct owns what the answers look like.
	Direct(ctx context.Context, what string, q url.Values) (any, error)
	// ChangeDirect changes it, in the name of the user by.
	ChangeDirect(ctx context.Context, what string, body []byte, by string) (any, error)
	// Acted hears of everything that is asked of this process: before a change, which its error
	// refuses, and after it.
	Acted(ctx context.Context, a Act) error
	// AuditStates are those of the audit logs of this process.
	AuditStates(ctx context.Context) ([]AuditState, error)
	// Audit asks of their entries, in the name of the user by, which is an entry itself.
	Audit(ctx context.Context, what string, body []byte, by string) (any, error)
}

// Info says what this process is.
type Info struct {
	Node           string     `json:"node"`
	Domain         string     `json:"domain"`
	Roles          []string   `json:"roles"`
	Release        string     `json:"release"`
	PID            int        `json:"pid"`
	StartedAt      time.Time  `json:"started_at"`
	Dev            bool       `json:"dev"`
	Dir            string     `json:"dir"`
	MapURL         string     `json:"map_url,omitempty"`
	MetricsURL     string     `json:"metrics_url,omitempty"`
	MeterPages     []string   `json:"meter_pages"`
	ConfigPath     string     `json:"config_path,omitempty"`
	ConfigDigest   string     `json:"config_digest,omitempty"`
	Linked         bool       `json:"linked"`
	LinkReason     string     `json:"link_reason,omitempty"`
	Version        uint64     `json:"version"`
	SnapshotAgeMS  int64      `json:"snapshot_age_ms"`
	ClockSkewMS    float64    `json:"clock_skew_ms"`
	Certificates   []CertInfo `json:"certificates"`
	Listeners      []Listener `json:"listeners"`
	MaxProcs       int        `json:"max_procs"`
	Goroutines     int        `json:"goroutines"`
	HeapBytes      uint64     `json:"heap_bytes"`
	OpenFilesMax   uint64     `json:"open_files_max"`
	ControlAddress string     `json:"control_address,omitempty"`
}

// Listener is one bound address and what it is for.
type Listener struct {
	Purpose string `json:"purpose"`
	Address string `json:"address"`
}

// CertInfo describes one held certificate, never its key.
type CertInfo struct {
	ID        string    `json:"id"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	RenewAt   time.Time `json:"renew_at"`
	Serial    string    `json:"serial"`
}

// Status is the state of the mesh as control, or the last snapshot, sees it.
type Status struct {
	Domain        string       `json:"domain"`
	Version       uint64       `json:"version"`
	FloorVersion  uint64       `json:"floor_version"`
	Digest        string       `json:"digest"`
	Source        string       `json:"source"` // "control", or "snapshot" when control is unreachable
	SnapshotAgeMS int64        `json:"snapshot_age_ms"`
	Nodes         []NodeStatus `json:"nodes"`
}

// NodeStatus is one node in Status.
type NodeStatus struct {
	Node        string    `json:"node"`
	Address     string    `json:"address"`
	Zone        string    `json:"zone,omitempty"`
	Release     string    `json:"release"`
	Roles       []string  `json:"roles"`
	State       string    `json:"state"` // SYNCED, STALE, REJECTED, OFFLINE, DRAINING
	Linked      bool      `json:"linked"`
	Version     uint64    `json:"version"`
	Reason      string    `json:"reason,omitempty"`
	Detail      string    `json:"detail,omitempty"`
	LastSeenMS  int64     `json:"last_seen_ms"`
	ApplyMS     float64   `json:"apply_ms"`
	ClockSkewMS float64   `json:"clock_skew_ms"`
	CertExpires time.Time `json:"cert_expires_at"`
}

// Service is one service and its endpoints.
type Service struct {
	Service   string     `json:"service"`
	Protocol  string     `json:"protocol"`
	Port      uint16     `json:"port"`
	Class     string     `json:"class"`
	Balance   string     `json:"balance"`
	Placed    []string   `json:"placed"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint is one instance. Linked (its node talks to control) and Healthy (its
// check passes) are separate facts.
type Endpoint struct {
	Node     string `json:"node"`
	Epoch    uint64 `json:"epoch"`
	Linked   bool   `json:"linked"`
	Healthy  bool   `json:"healthy"`
	Draining bool   `json:"draining"`
	Why      string `json:"why,omitempty"`
}

// Edge is observed traffic between two services over the last ten seconds.
type Edge struct {
	Src             string  `json:"src"`
	Dst             string  `json:"dst"`
	Protocol        string  `json:"protocol"`
	State           string  `json:"state"` // ok, warn, error, idle
	Reason          string  `json:"reason,omitempty"`
	RatePerSecond   float64 `json:"rate_per_second"`
	ErrorsPerSecond float64 `json:"errors_per_second"`
	ErrorRatio      float64 `json:"error_ratio"`
	P50NS           int64   `json:"p50_ns"`
	P99NS           int64   `json:"p99_ns"`
	P999NS          int64   `json:"p999_ns"`
	BytesPerSecond  float64 `json:"bytes_per_second"`
	ActiveFlows     int64   `json:"active_flows"`
	RequestsTotal   uint64  `json:"requests_total"`
	ErrorsTotal     uint64  `json:"errors_total"`
	Secured         bool    `json:"secured"`
	Path            string  `json:"path"` // mesh; direct paths come with their role
}

// Event is something that happened on the mesh.
type Event struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	Reason  string    `json:"reason,omitempty"`
}

// Why is the answer of `fire why SRC DST`: an ordered chain of findings, the
// first that is not OK being the cause.
type Why struct {
	Src      string        `json:"src"`
	Dst      string        `json:"dst"`
	Works    bool          `json:"works"`
	Reason   string        `json:"reason,omitempty"`
	Findings []Finding     `json:"findings"`
	Verdict  PolicyVerdict `json:"verdict"`
	Edge     *Edge         `json:"edge,omitempty"`
	Refusals []Refusal     `json:"refusals"`
}

// Finding is one link in Why's chain.
type Finding struct {
	OK     bool   `json:"ok"`
	Step   string `json:"step"` // service, policy, placement, endpoints, traffic
	Text   string `json:"text"`
	Reason string `json:"reason,omitempty"`
	Next   string `json:"next,omitempty"`
}

// Refusal is one refused or broken flow.
type Refusal struct {
	At     time.Time `json:"at"`
	Node   string    `json:"node"`
	Side   string    `json:"side"` // out, in
	Src    string    `json:"src"`
	Dst    string    `json:"dst"`
	Reason string    `json:"reason"`
	Rule   string    `json:"rule,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// Flow is one live tunnelled connection of this process.
type Flow struct {
	ID       string    `json:"id"`
	Side     string    `json:"side"`
	Src      string    `json:"src"`
	Dst      string    `json:"dst"`
	Peer     string    `json:"peer"`
	Protocol string    `json:"protocol"`
	Since    time.Time `json:"since"`
	BytesOut uint64    `json:"out_bytes"`
	BytesIn  uint64    `json:"in_bytes"`
}

// PolicyQuery asks what policy says of one operation.
type PolicyQuery struct {
	Src    string `json:"src"`
	Dst    string `json:"dst"`
	Port   uint16 `json:"port,omitempty"` // 0: the service's own
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
}

// PolicyVerdict is the answer with the deciding rule.
type PolicyVerdict struct {
	Src     string `json:"src"`
	Dst     string `json:"dst"`
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason"`
	Rule    string `json:"rule,omitempty"`
	Bundle  string `json:"bundle"`
}

// ApplyRequest carries a floor file.
type ApplyRequest struct {
	Name   string `json:"name"` // the file's name, for error positions
	Text   string `json:"text"`
	DryRun bool   `json:"dry_run"`
	WaitMS int64  `json:"wait_ms"`         // how long to wait for the nodes' answers, 0 = 2000
	Empty  bool   `json:"empty,omitempty"` // a floor without services is meant
}

// RollbackRequest names an earlier floor version; 0 is the one before.
type RollbackRequest struct {
	Version uint64 `json:"version"`
	WaitMS  int64  `json:"wait_ms"`
}

// ApplyResult says what changed and what each node made of it.
type ApplyResult struct {
	FloorVersion uint64      `json:"floor_version"`
	DryRun       bool        `json:"dry_run"`
	Changed      bool        `json:"changed"`
	Changes      []string    `json:"changes"`
	Allowed      []string    `json:"newly_allowed"` // "src > dst"
	Denied       []string    `json:"newly_denied"`
	Problems     []string    `json:"problems"` // not empty: nothing was applied
	Nodes        []ApplyNode `json:"nodes"`
}

// ApplyNode is one node's progress with one version.
type ApplyNode struct {
	Node     string  `json:"node"`
	Received bool    `json:"received"`
	Accepted bool    `json:"accepted"`
	Applied  bool    `json:"applied"`
	Rejected bool    `json:"rejected"`
	Reason   string  `json:"reason,omitempty"`
	Detail   string  `json:"detail,omitempty"`
	ApplyMS  float64 `json:"apply_ms"`
}

// TokenRequest asks for a join token.
type TokenRequest struct {
	Node  string `json:"node"`   // "" = the joiner chooses
	TTLMS int64  `json:"ttl_ms"` // 0 = one hour
}

// TokenAnswer is the one time the token's text is shown.
type TokenAnswer struct {
	ID        string    `json:"id"`
	Token     string    `json:"token"`
	Node      string    `json:"node,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
}

// TokenInfo lists a token without its secret.
type TokenInfo struct {
	ID        string    `json:"id"`
	Node      string    `json:"node,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
	UsedBy    string    `json:"used_by,omitempty"`
	State     string    `json:"state"` // open, used, expired
}

// RevokeRequest names a SPIFFE id, or kind/name of this domain.
type RevokeRequest struct {
	ID   string `json:"id"`
	Why  string `json:"why"`
	Undo bool   `json:"undo"`
}

// RevokeAnswer says which nodes enforce it.
type RevokeAnswer struct {
	ID    string      `json:"id"`
	Undo  bool        `json:"undo"`
	Nodes []ApplyNode `json:"nodes"`
}

// DrainRequest drains a node, or one service's endpoint on it.
type DrainRequest struct {
	Node    string `json:"node"`
	Service string `json:"service,omitempty"`
	Undo    bool   `json:"undo"`
}

// DrainAnswer says what is draining now.
type DrainAnswer struct {
	Node      string   `json:"node"`
	Endpoints []string `json:"endpoints"`
	Undo      bool     `json:"undo"`
	Version   uint64   `json:"version"`
}

// CA describes the certificate authority, never its keys.
type CA struct {
	Domain        string     `json:"domain"`
	Pin           string     `json:"pin"`
	BundleVersion uint64     `json:"bundle_version"`
	Roots         []RootInfo `json:"roots"`
	Nodes         []CertInfo `json:"nodes"`
}

// RootInfo is one root of the bundle.
type RootInfo struct {
	Pin       string    `json:"pin"`
	Active    bool      `json:"active"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// RotateRequest is one step of a root rotation: prepare, activate, retire.
type RotateRequest struct {
	Step string `json:"step"`
}
