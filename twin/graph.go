package twin

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// graph is the mutable model. It belongs to the goroutine of Run alone.
type graph struct {
	cfg   Config
	clock clock

	nodes  map[string]*node
	edges  map[edgeKey]*edge
	sorted []*edge // by key
	links  int     // over all edges, bounded by Config.EdgesMax

	inventory *Inventory
	members   map[string]bool // the inventory's nodes
	events    eventRing
	intake    Intake
	told      map[string]time.Duration // last refusal event per node

	version  uint64
	rolledAt second
}

type node struct {
	name       string
	seq        sequence
	lastReport time.Duration // model time; meaningful when reported
	reported   bool
	wasSilent  bool
	offset     time.Duration // its clock minus ours
	sessions   []SessionFact
	told       told
}

type edgeKey struct{ src, dst string }

func (k edgeKey) String() string { return k.src + ">" + k.dst }

// edge is everything known of the traffic from one service to another.
type edge struct {
	key      edgeKey
	protocol string
	secured  bool
	born     time.Duration
	touched  time.Duration // last delta that carried anything
	sides    [2]side       // client, server
	history  []Point       // append-only within its capacity: snapshots share it
	state    State
	since    time.Duration
	view     EdgeView
	settled  bool // view is idle and will not change by time alone
}

const (
	client = 0
	server = 1
)

// side is one end of an edge, summed over its nodes.
type side struct {
	links    map[linkKey]*link
	tally    tally
	spread   spread
	requests uint64
	errors   uint64
}

type linkKey struct{ node, peer string }

// link is what one node saw towards one other node ("" when it does not say).
type link struct {
	tally    tally
	active   int64
	lastSeen time.Duration
}

func newGraph(cfg Config, now time.Time) *graph {
	return &graph{
		cfg:   cfg,
		clock: clock{start: now},
		nodes: map[string]*node{},
		edges: map[edgeKey]*edge{},
		told:  map[string]time.Duration{},
	}
}

func (g *graph) take(in input, now time.Time) {
	at := g.clock.advance(now)
	if in.event != nil {
		g.note(*in.event, at)
	}
	if in.report != nil {
		g.report(in.report, now, at)
	}
}

// note adds somebody else's event, with its text bounded.
func (g *graph) note(e Event, at time.Duration) {
	if e.At.IsZero() {
		e.At = g.clock.wall(at)
	}
	if e.Severity == "" {
		e.Severity = StateOK
	}
	e.Subject, e.Text = bounded(e.Subject, 160), bounded(e.Text, 400)
	g.events.add(e)
}

func (g *graph) tell(at time.Duration, kind EventKind, severity State, subject, text string) {
	g.events.add(Event{At: g.clock.wall(at), Kind: kind, Severity: severity, Subject: subject, Text: text})
}

func (g *graph) report(r *Report, now time.Time, at time.Duration) {
	n := g.node(r.Node, at)
	if n == nil {
		return
	}
	g.intake.Reports++
	verdict := n.seq.admit(r.Boot, r.Seq, r.At)
	switch verdict {
	case refuseRepeated:
		g.intake.Duplicates++
		return
	case admitRestart:
		g.intake.Restarts++
		g.dropGauges(n.name)
		g.tell(at, EventNodeRestarted, StateWarn, "node "+n.name, n.name+" started anew")
	}
	if n.reported && n.wasSilent {
		n.wasSilent = false
		g.tell(at, EventNodeLinked, StateOK, "node "+n.name, n.name+" reports again")
	}
	n.reported, n.lastReport = true, at
	newest := verdict != admitLate
	if newest {
		n.offset = boundedOffset(r.At, now)
		sessions, refused := cleanSessions(r.Sessions)
		n.sessions = sessions
		g.refuse(n.name, at, uint64(refused), "sessions that make no sense")
	}
	g.deltas(n.name, r.Edges, newest, at)
	g.happened(n, r, at)
}

func (g *graph) deltas(from string, deltas []EdgeDelta, newest bool, at time.Duration) {
	if over := len(deltas) - deltasMax; over > 0 {
		g.refuse(from, at, uint64(over), fmt.Sprintf("more than %d edges in one report", deltasMax))
		deltas = deltas[:deltasMax]
	}
	for i := range deltas {
		d := &deltas[i]
		if why := checkDelta(d); why != "" {
			g.refuse(from, at, 1, why)
			continue
		}
		g.delta(from, d, newest, at)
	}
}

func (g *graph) delta(from string, d *EdgeDelta, newest bool, at time.Duration) {
	l, e, s := g.link(from, d, at)
	if l == nil {
		g.intake.OverEdges++
		g.refusalEvent(from, at, fmt.Sprintf("the map is full: %d edge sides (twin.edges_max)", g.cfg.EdgesMax))
		return
	}
	c := counts{d.Requests, d.Errors, d.Refused, d.Opened, d.BytesOut, d.BytesIn}
	now := secondOf(at)
	l.tally.add(now, c)
	s.tally.add(now, c)
	s.spread.add(now, d)
	s.requests = addSaturating(s.requests, d.Requests)
	s.errors = addSaturating(s.errors, d.Errors)
	l.lastSeen = at
	if newest {
		l.active = d.Active
	}
	if d.Protocol != "" {
		e.protocol = d.Protocol
	}
	if c.any() || d.Active > 0 {
		e.touched, e.settled = at, false
	}
	if d.Requests|d.BytesIn|d.BytesOut|d.Opened != 0 {
		e.secured = d.Secured
	}
}

// link finds or makes the link; nil when the map is full.
func (g *graph) link(from string, d *EdgeDelta, at time.Duration) (*link, *edge, *side) {
	key := edgeKey{d.Src, d.Dst}
	which := client
	if d.Side == SideIn {
		which = server
	}
	lk := linkKey{from, d.Peer}
	e := g.edges[key]
	if e != nil {
		if l := e.sides[which].links[lk]; l != nil {
			return l, e, &e.sides[which]
		}
	}
	if g.links >= g.cfg.EdgesMax {
		return nil, nil, nil
	}
	if e == nil {
		e = g.newEdge(key, at)
	}
	s := &e.sides[which]
	if s.links == nil {
		s.links = map[linkKey]*link{}
	}
	l := &link{lastSeen: at}
	s.links[lk] = l
	g.links++
	return l, e, s
}

func (g *graph) newEdge(key edgeKey, at time.Duration) *edge {
	e := &edge{key: key, born: at, touched: at, since: at, state: StateIdle}
	g.edges[key] = e
	i, _ := slices.BinarySearchFunc(g.sorted, key, func(e *edge, k edgeKey) int {
		return strings.Compare(e.key.String(), k.String())
	})
	g.sorted = slices.Insert(g.sorted, i, e)
	g.tell(at, EventEdgeNew, StateOK, "edge "+key.String(), key.src+" now talks to "+key.dst)
	return e
}

// node finds or makes a node; nil when its name is bad or there are too many.
func (g *graph) node(name string, at time.Duration) *node {
	if n := g.nodes[name]; n != nil {
		return n
	}
	if !legalName(name) {
		g.intake.Refused++
		g.intake.Latest = "a report without a legal node name"
		return nil
	}
	if len(g.nodes) >= g.cfg.NodesMax {
		g.intake.OverNodes++
		g.refusalEvent("", at, fmt.Sprintf("the map is full: %d nodes (twin.nodes_max)", g.cfg.NodesMax))
		return nil
	}
	n := &node{name: name}
	g.nodes[name] = n
	return n
}

// dropGauges forgets what a node's former process had open.
func (g *graph) dropGauges(name string) {
	for _, e := range g.sorted {
		for i := range e.sides {
			for k, l := range e.sides[i].links {
				if k.node == name {
					l.active, e.settled = 0, false
				}
			}
		}
	}
}

func (g *graph) refuse(from string, at time.Duration, n uint64, why string) {
	if n == 0 {
		return
	}
	g.intake.Refused += n
	g.refusalEvent(from, at, why)
}

// refusalEvent is loud once a minute per node, so that a liar cannot push the
// other events out of the ring.
func (g *graph) refusalEvent(from string, at time.Duration, why string) {
	g.intake.Latest = bounded(from+": "+why, 200)
	if last, ok := g.told[from]; ok && at-last < time.Minute {
		return
	}
	g.told[from] = at
	g.tell(at, EventReportsRefused, StateWarn, "node "+from, "part of its report is refused: "+bounded(why, 200))
}
