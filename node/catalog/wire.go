package catalog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/twin"
)

// Protocol is the version of the messages below. A peer that says a higher one
// is answered in ours; unknown JSON fields are skipped, so fields may be added.
const Protocol = 1

// Bounds of one message, checked on the length prefix before a byte is decoded.
const (
	ToControlBytesMax = 1 << 20
	ToNodeBytesMax    = 16 << 20
	JoinBytesMax      = 64 << 10
)

// Bounds of lists inside a message.
const (
	ClaimsMax   = 1024 // services of one node
	TextBytes   = 512  // any text for people
	RolesMax    = 8
	AddrBytes   = 256
	InspectBody = 64 << 10
	WitnessBody = 64 << 10
	WitnessKeys = 32
)

// A watch stream is one bidirectional stream per node session. The node opens it
// with Hello; NodeMessages flow one way and ControlMessages the other, each with
// exactly one field set.
//
//	0       4                4+n
//	├───────┼────────────────┤
//	│ n, BE │ n bytes JSON   │   n <= the bound of the direction, never 0
//	└───────┴────────────────┘
//
// Every other stream of the session carries one Request and one Answer.

// NodeMessage is what a node sends on its watch stream.
type NodeMessage struct {
	Hello    *Hello       `json:"hello,omitempty"`    // first, once
	Renew    *Renew       `json:"renew,omitempty"`    // every RenewEvery of the Welcome
	Register *Claim       `json:"register,omitempty"` // a service starts on this node; answered by Grant or Refuse
	Withdraw *Lease       `json:"withdraw,omitempty"` // a service is gone on purpose: its endpoint goes at once
	Health   *Health      `json:"health,omitempty"`
	Drain    *Drain       `json:"drain,omitempty"`
	Ack      *Ack         `json:"ack,omitempty"`
	Resync   *Resync      `json:"resync,omitempty"` // the node wants a Snapshot instead of Deltas
	Report   *twin.Report `json:"report,omitempty"`
	Log      *Log         `json:"log,omitempty"`
}

// Hello opens a watch stream. Claims carry the epochs that the node still holds,
// so that a reconnect, or a restart of control, keeps them.
type Hello struct {
	Protocol int       `json:"protocol"`
	Addr     string    `json:"addr"` // where other proxies dial this node, "host:port"
	Region   string    `json:"region,omitempty"`
	Zone     string    `json:"zone,omitempty"`
	Release  string    `json:"release"`
	Roles    []string  `json:"roles,omitempty"`
	Claims   []Claim   `json:"claims,omitempty"`
	Have     Head      `json:"have"` // zero: nothing
	Time     time.Time `json:"time"` // the node's clock, for the skew that `fire check` shows
	NotAfter time.Time `json:"not_after"`
}

// Head names one catalogue version.
type Head struct {
	Version uint64 `json:"version"`
	Digest  Digest `json:"digest"`
}

// Claim asks for an endpoint of a service on the sending node.
type Claim struct {
	Service string `json:"service"`
	Epoch   uint64 `json:"epoch,omitempty"` // held from before; 0 for a new one
	Healthy bool   `json:"healthy"`
	Why     string `json:"why,omitempty"`
	Weight  int    `json:"weight,omitempty"` // 0 counts as 1
}

// Lease names a held endpoint.
type Lease struct {
	Service string `json:"service"`
	Epoch   uint64 `json:"epoch"`
}

// Renew keeps all leases of the node alive and says which version it runs.
type Renew struct {
	Leases   []Lease   `json:"leases,omitempty"`
	Have     Head      `json:"have"`
	Time     time.Time `json:"time"`
	NotAfter time.Time `json:"not_after"` // end of the node certificate
}

// Health reports a change of an endpoint's health check.
type Health struct {
	Lease
	Healthy bool   `json:"healthy"`
	Why     string `json:"why,omitempty"`
}

// Drain asks for a planned drain of one of the node's services, or of the node.
type Drain struct {
	Service string `json:"service,omitempty"` // empty: every service of the node
	On      bool   `json:"on"`
}

// Stage is how far a node has come with a version.
type Stage string

const (
	Received Stage = "received" // whole and its signature is right
	Accepted Stage = "accepted" // it compiles
	Applied  Stage = "applied"  // it is in force, forbidden connections are cut
	Rejected Stage = "rejected" // the node keeps its last good version
)

// Ack tells how a node took a version.
type Ack struct {
	Version uint64      `json:"version"`
	Stage   Stage       `json:"stage"`
	Code    reason.Code `json:"code,omitempty"`
	Detail  string      `json:"detail,omitempty"`
	Took    float64     `json:"took_ms"` // since the message arrived
}

// Resync says why a node needs a Snapshot.
type Resync struct {
	Have Head   `json:"have"`
	Why  string `json:"why"`
}

// Log is a line that a node wants an operator of the mesh to see.
type Log struct {
	Level string      `json:"level"` // info, warn, error
	Text  string      `json:"text"`
	Code  reason.Code `json:"code,omitempty"`
}

// ControlMessage is what control sends on a watch stream.
type ControlMessage struct {
	Welcome  *Welcome `json:"welcome,omitempty"` // first, once
	Snapshot *Signed  `json:"snapshot,omitempty"`
	Delta    *Signed  `json:"delta,omitempty"`
	Grant    *Grant   `json:"grant,omitempty"`
	Refuse   *Refuse  `json:"refuse,omitempty"`
	Ask      *Ask     `json:"ask,omitempty"`
}

// Welcome answers Hello.
type Welcome struct {
	Protocol    int       `json:"protocol"`
	Control     string    `json:"control"` // name of the control node
	Release     string    `json:"release"`
	Time        time.Time `json:"time"` // control's clock
	LeaseFor    Duration  `json:"lease_for"`
	RenewEvery  Duration  `json:"renew_every"`
	ReportEvery Duration  `json:"report_every"`
}

// Grant gives an endpoint its epoch.
type Grant struct {
	Lease
	Until time.Time `json:"until"` // control's clock
}

// Refuse answers a Claim, a Renew, a Request or a JoinRequest.
type Refuse struct {
	Service string      `json:"service,omitempty"`
	Epoch   uint64      `json:"epoch,omitempty"`
	Code    reason.Code `json:"code"`
	Detail  string      `json:"detail,omitempty"`
}

// Err is the refusal as an error.
func (r *Refuse) Err() error { return &reason.Error{Code: r.Code, Detail: r.Detail} }

// Refused makes a Refuse of an error; fallback is the code of an error without one.
func Refused(err error, fallback reason.Code) *Refuse {
	r := &Refuse{Code: reason.Of(err, fallback), Detail: clip(err.Error())}
	if e, ok := err.(*reason.Error); ok {
		r.Detail = clip(e.Detail)
	}
	return r
}

// Ask wants something of the node. Every set field is a wish.
type Ask struct {
	Certificates bool   `json:"certificates,omitempty"` // renew all now: the root changes
	Register     bool   `json:"register,omitempty"`     // register all services anew
	Why          string `json:"why,omitempty"`
}

// Opening is the first message of any stream of a control session: Hello makes
// it the watch stream, the others make it one request.
type Opening struct {
	Hello *Hello `json:"hello,omitempty"`
	Request
}

// Request is one question of a node; exactly one field is set.
type Request struct {
	Issue   *IssueRequest   `json:"issue,omitempty"`
	Inspect *InspectRequest `json:"inspect,omitempty"`
	Witness *WitnessRequest `json:"witness,omitempty"`
}

// WitnessRequest asks control to cosign a head of the node's audit log, and with no Body for the key
// by which it would.
type WitnessRequest struct {
	Keys []string `json:"keys"`           // public, of the node's log
	Body []byte   `json:"body,omitempty"` // of a C2SP tlog-witness add-checkpoint
}

// WitnessAnswer is what a witness says over HTTP.
type WitnessAnswer struct {
	Key    string `json:"key"` // public, of the witness
	Status int    `json:"status,omitempty"`
	Type   string `json:"type,omitempty"`
	Body   []byte `json:"body,omitempty"`
}

// IssueRequest asks for a certificate. The names inside the CSR are ignored.
type IssueRequest struct {
	Principal id.Principal `json:"principal"`
	CSR       []byte       `json:"csr"`
}

// InspectRequest reads the mesh, never changes it.
type InspectRequest struct {
	Method string          `json:"method"`          // only GET
	Path   string          `json:"path"`            // "/v1/status", "/v1/services", ...: see node/admin
	Query  string          `json:"query,omitempty"` // url.Values encoded
	Body   json.RawMessage `json:"body,omitempty"`
}

// Answer is the one reply to a Request; exactly one field is set.
type Answer struct {
	Issue   *IssueAnswer   `json:"issue,omitempty"`
	Inspect *InspectAnswer `json:"inspect,omitempty"`
	Witness *WitnessAnswer `json:"witness,omitempty"`
	Refuse  *Refuse        `json:"refuse,omitempty"`
}

// IssueAnswer holds the leaf first, then its intermediates, as DER.
type IssueAnswer struct {
	Chain  [][]byte   `json:"chain"`
	Bundle pki.Bundle `json:"bundle"`
}

// InspectAnswer carries what node/admin's Answer gives on the control host.
type InspectAnswer struct {
	Status int             `json:"status"` // as of HTTP
	Body   json.RawMessage `json:"body"`
}

// JoinRequest is the one message of a joiner, over ALPN fire-join/1.
type JoinRequest struct {
	TokenID string `json:"token_id"`
	Secret  []byte `json:"secret"`
	Node    string `json:"node"` // the wished name; the token may force another
	CSR     []byte `json:"csr"`
	Addr    string `json:"addr,omitempty"` // "host:port" of the node's QUIC socket
}

// JoinAnswer is the reply: a Refuse, or all of the rest.
type JoinAnswer struct {
	Refuse   *Refuse    `json:"refuse,omitempty"`
	Node     string     `json:"node,omitempty"`
	Chain    [][]byte   `json:"chain,omitempty"`
	Bundle   pki.Bundle `json:"bundle"`
	Controls []string   `json:"controls,omitempty"`
}

// WriteMessage writes v as one message. A message above max is refused here, on
// the side that can still say why. w gets exactly one Write.
func WriteMessage(w io.Writer, max int, v any) error {
	b, err := AppendMessage(nil, max, v)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// AppendMessage appends v as one message to b.
func AppendMessage(b []byte, max int, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return b, fmt.Errorf("encode %T: %w", v, err)
	}
	if len(body) > max {
		return b, reason.New(reason.FrameOversized, "%T of %d bytes, the limit is %d", v, len(body), max)
	}
	if err := crowded(body, max); err != nil {
		return b, err
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...), nil
}

// ReadMessage reads one message into v. io.EOF means a clean end before it. The
// buffer grows with what really arrives, so a large announced length costs the
// sender the bytes and us nothing.
func ReadMessage(r io.Reader, max int, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			return reason.New(reason.FrameTruncated, "control message ends inside its length")
		}
		return err
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n == 0 {
		return reason.New(reason.FrameMalformed, "control message is empty")
	}
	if n > int64(max) {
		return reason.New(reason.FrameOversized, "control message announces %d bytes, the limit is %d", n, max)
	}
	var body bytes.Buffer
	if got, err := io.Copy(&body, io.LimitReader(r, n)); err != nil {
		return err
	} else if got < n {
		return reason.New(reason.FrameTruncated, "control message ends after %d of %d bytes", got, n)
	}
	if err := crowded(body.Bytes(), max); err != nil {
		return err
	}
	if err := json.Unmarshal(body.Bytes(), v); err != nil {
		return reason.New(reason.FrameMalformed, "control message: %w", err)
	}
	return nil
}

// clip bounds a text for people, at a rune's edge.
func clip(s string) string {
	if len(s) <= TextBytes {
		return s
	}
	cut := TextBytes
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut]
}
