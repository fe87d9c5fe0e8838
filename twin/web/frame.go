package web

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"fire/twin"
)

// frame is one published state of the map, already in pieces of JSON. Two frames
// are compared piece by piece, so a client that missed any number of them gets
// exactly what changed since its own.
type frame struct {
	// constant
	version  uint64
	at       time.Time
	snapshot *twin.Snapshot
	pieces   [3]map[string]json.RawMessage // nodes, services, edges by id
	order    [3][]string
	layout   json.RawMessage
	layoutID uint64
	event    uint64 // id of the newest event

	// guarded by mu
	mu     sync.Mutex
	deltas map[uint64][]byte // by the version they start from
	whole  []byte
}

const (
	pieceNodes = iota
	pieceServices
	pieceEdges
)

// edgeLine is what the map and the table need of an edge; the rest is fetched for
// the selected edge only, which keeps a delta to about 300 bytes an edge.
type edgeLine struct {
	Src             string          `json:"src"`
	Dst             string          `json:"dst"`
	Protocol        string          `json:"protocol,omitempty"`
	RatePerSecond   float64         `json:"rate_per_second"`
	ErrorsPerSecond float64         `json:"errors_per_second"`
	ErrorRatio      float64         `json:"error_ratio"`
	P50             time.Duration   `json:"p50_ns"`
	P99             time.Duration   `json:"p99_ns"`
	P999            time.Duration   `json:"p999_ns"`
	BytesPerSecond  float64         `json:"bytes_per_second"`
	Active          int64           `json:"active"`
	Secured         bool            `json:"secured"`
	State           twin.State      `json:"state"`
	Why             []string        `json:"why,omitempty"`
	TopReason       string          `json:"top_reason,omitempty"`
	Stale           bool            `json:"stale,omitempty"`
	Paths           []twin.PathView `json:"paths"`
}

func lineOf(e *twin.EdgeView) edgeLine {
	paths := slices.Clone(e.Paths)
	for i := range paths {
		paths[i].RatePerSecond = rounded(paths[i].RatePerSecond)
	}
	if paths == nil {
		paths = []twin.PathView{}
	}
	return edgeLine{
		Src: e.Src, Dst: e.Dst, Protocol: e.Protocol,
		RatePerSecond: rounded(e.RatePerSecond), ErrorsPerSecond: rounded(e.ErrorsPerSecond), ErrorRatio: rounded(e.ErrorRatio),
		P50: e.P50, P99: e.P99, P999: e.P999, BytesPerSecond: rounded(e.BytesPerSecond),
		Active: e.Active, Secured: e.Secured, State: e.State, Why: e.Why, TopReason: e.TopReason, Stale: e.Stale, Paths: paths,
	}
}

// rounded keeps four digits: nobody reads more, and equal text is not sent again.
func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	if math.IsInf(scale, 0) || scale == 0 {
		return 0
	}
	return math.Round(v*scale) / scale
}

// newFrame encodes a snapshot. A node's ages change with every snapshot and would
// make each of them differ, so a node is sent without the time of its last report.
func newFrame(s *twin.Snapshot, layout json.RawMessage, layoutID uint64) *frame {
	f := &frame{version: s.Version, at: s.At, snapshot: s, layout: layout, layoutID: layoutID, deltas: map[uint64][]byte{}}
	for i := range f.pieces {
		f.pieces[i] = map[string]json.RawMessage{}
	}
	for _, n := range s.Nodes {
		n.LastReport, n.Sessions = time.Time{}, nil
		n.ClockOffset = n.ClockOffset.Round(100 * time.Millisecond)
		f.add(pieceNodes, n.Name, n)
	}
	for _, v := range s.Services {
		f.add(pieceServices, v.Name, v)
	}
	for i := range s.Edges {
		f.add(pieceEdges, s.Edges[i].Key(), lineOf(&s.Edges[i]))
	}
	if n := len(s.Events); n > 0 {
		f.event = s.Events[n-1].ID
	}
	return f
}

func (f *frame) add(kind int, id string, v any) {
	f.pieces[kind][id] = encode(v)
	f.order[kind] = append(f.order[kind], id)
}

// message is the body of both kinds of stream events and of /api/v1/snapshot. In a
// whole one every list is complete; in a delta the lists hold what changed and
// the gone lists what is no more.
type message struct {
	Schema   string            `json:"schema"`
	Epoch    string            `json:"epoch"` // of this server process
	Version  uint64            `json:"version"`
	From     uint64            `json:"from,omitempty"` // delta: the version it builds on
	At       time.Time         `json:"at"`
	Floor    uint64            `json:"floor_version"`
	Started  time.Time         `json:"started"`
	Nodes    []json.RawMessage `json:"nodes,omitempty"`
	Services []json.RawMessage `json:"services,omitempty"`
	Edges    []json.RawMessage `json:"edges,omitempty"`
	Gone     *gone             `json:"gone,omitempty"`
	Events   []twin.Event      `json:"events,omitempty"`
	Layout   json.RawMessage   `json:"layout,omitempty"`
	Intake   twin.Intake       `json:"intake"`
}

type gone struct {
	Nodes    []string `json:"nodes,omitempty"`
	Services []string `json:"services,omitempty"`
	Edges    []string `json:"edges,omitempty"`
}

// Schema is the name and version of the messages.
const Schema = "fire.map/v1"

func (f *frame) head(epoch string) message {
	return message{Schema: Schema, Epoch: epoch, Version: f.version, At: f.at,
		Floor: f.snapshot.FloorVersion, Started: f.snapshot.Started, Intake: f.snapshot.Intake}
}

// full is the whole state.
func (f *frame) full(epoch string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.whole == nil {
		m := f.head(epoch)
		m.Nodes, m.Services, m.Edges = f.all(pieceNodes), f.all(pieceServices), f.all(pieceEdges)
		m.Events, m.Layout = f.snapshot.Events, f.layout
		f.whole = encode(m)
	}
	return f.whole
}

func (f *frame) all(kind int) []json.RawMessage {
	out := make([]json.RawMessage, 0, len(f.order[kind]))
	for _, id := range f.order[kind] {
		out = append(out, f.pieces[kind][id])
	}
	return out
}

// since is what changed after the base. Clients in step share the encoding.
func (f *frame) since(base *frame, epoch string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.deltas[base.version]; b != nil {
		return b
	}
	m := f.head(epoch)
	m.From = base.version
	var g gone
	m.Nodes, g.Nodes = f.changed(base, pieceNodes)
	m.Services, g.Services = f.changed(base, pieceServices)
	m.Edges, g.Edges = f.changed(base, pieceEdges)
	if len(g.Nodes)+len(g.Services)+len(g.Edges) > 0 {
		m.Gone = &g
	}
	for _, e := range f.snapshot.Events {
		if e.ID > base.event {
			m.Events = append(m.Events, e)
		}
	}
	if f.layoutID != base.layoutID {
		m.Layout = f.layout
	}
	b := encode(m)
	f.deltas[base.version] = b
	return b
}

func (f *frame) changed(base *frame, kind int) (changed []json.RawMessage, gone []string) {
	for _, id := range f.order[kind] {
		if piece := f.pieces[kind][id]; !bytes.Equal(piece, base.pieces[kind][id]) {
			changed = append(changed, piece)
		}
	}
	for _, id := range base.order[kind] {
		if f.pieces[kind][id] == nil {
			gone = append(gone, id)
		}
	}
	return changed, gone
}

// encode cannot fail for what this package encodes; should it, the reader sees why.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(map[string]string{"error": strings.ToValidUTF8(err.Error(), "?")})
	}
	return b
}
