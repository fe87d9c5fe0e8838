package web

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Layout is where everything stands, in the map's own units (pixels at zoom 1).
type Layout struct {
	Width  float64      `json:"width"`
	Height float64      `json:"height"`
	Hosts  []HostBox    `json:"hosts"`
	Boxes  []ServiceBox `json:"boxes"`
	Edges  []EdgeRoute  `json:"edges"`
}

// HostBox is one host.
type HostBox struct {
	Name string `json:"name"`
	Text string `json:"text"` // fits the box
	rect
}

// ServiceBox is one service on one host.
type ServiceBox struct {
	ID      string `json:"id"`
	Service string `json:"service"`
	Node    string `json:"node"`
	Text    string `json:"text"` // fits the box
	rect
}

// EdgeRoute is how an edge is drawn: a curve per pair of hosts and one label.
type EdgeRoute struct {
	Key   string      `json:"key"`
	Paths []PathRoute `json:"paths"`
	Label *rect       `json:"label,omitempty"` // absent on crowded maps
}

// PathRoute is one curve, from the source's box to the destination's.
type PathRoute struct {
	From string `json:"from"`
	To   string `json:"to"`
	D    string `json:"d"` // SVG path data
}

type rect struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
	W float64 `json:"w"`
	H float64 `json:"h"`
}

func (r rect) middle() float64 { return r.Y + r.H/2 }

func (r rect) overlaps(o rect) bool {
	return r.X < o.X+o.W && o.X < r.X+r.W && r.Y < o.Y+o.H && o.Y < r.Y+r.H
}

// Measures of the drawing. Character widths are those of the page's 13 px font,
// rounded up, so that text computed here fits there.
const (
	charWidth    = 7.7
	serviceHigh  = 54.0
	serviceGap   = 22.0
	serviceWide  = 158.0
	serviceWider = 260.0
	portPitch    = 11.0
	hostPad      = 18.0
	hostTitle    = 44.0
	hostGap      = 40.0
	labelWide    = 194.0
	labelHigh    = 40.0
	slotGap      = 18.0
	laneHigh     = 8.0
	bend         = 48.0 // room for a curve on either side of the labels
	margin       = 28.0
	columnTall   = 12  // services above each other in a host
	labelsMax    = 90  // a map with more edges shows figures on selection only
	lanesMax     = 600 // a map with more curves draws them straight
)

// drawing is the layout under construction.
type drawing struct {
	hosts   []*host
	columns [][]*host // left to right, each top to bottom
	bare    []*host   // no services
	boxes   map[place]*box
	wires   []*wire
	slots   [][]*slot // per gutter: gutter i lies right of column i
	lanes   [][]*slot // per column
	x       []float64 // left edge of each column
	wide    []float64 // width of each column
	labels  bool
}

type host struct {
	name   string
	index  int
	column int
	boxes  []*box
	rect
}

type box struct {
	place place
	host  *host
	left  []*port
	right []*port
	rect
}

// port is where a wire touches a box.
type port struct {
	wire *wire
	y    float64
	aim  float64 // where the wire goes next
}

// wire is one curve. a is its left box, b its right one; flipped when the
// traffic runs from b to a. A loop starts and ends in the same column.
type wire struct {
	edge    int
	path    topoPath
	a, b    *box
	pa, pb  *port
	flipped bool
	loop    bool
	gutters []*slot // one per gutter it crosses
	lanes   []*slot // one per column it passes
}

// slot is a place in a gutter or a column that belongs to one wire alone.
type slot struct {
	wire  *wire
	label bool
	y     float64 // middle
	high  float64
}

// layOut is a pure function: the same topology gives the same coordinates.
//
//	column 0     gutter 0      column 1     gutter 1      column 2
//	┌──────┐                   ┌──────┐                   ┌──────┐
//	│ host │──╮ ┌─label─┐ ╭────│ host │── ┌─label─┐ ──────│ host │
//	└──────┘  ╰─└───────┘─╯    └──────┘   └───────┘       └──────┘
//	            ── lane ────────── lane ──── lane ───────
//
// It is Sugiyama's method on hosts, with labels as nodes of their own layers: a
// label or a passing wire owns its slot, so neither can lie on the other.
func layOut(t topology) Layout {
	d := &drawing{boxes: map[place]*box{}, labels: len(t.Edges) <= labelsMax}
	d.addHosts(t)
	d.addWires(t)
	d.rankHosts()
	d.orient()
	d.sizeBoxes()
	d.placeColumns()
	d.placeSlots(t)
	d.placePorts()
	return d.emit(t)
}

func (d *drawing) addHosts(t topology) {
	for _, th := range t.Hosts {
		h := &host{name: th.Name, index: len(d.hosts)}
		for _, s := range th.Services {
			b := &box{place: place{s, th.Name}, host: h}
			h.boxes = append(h.boxes, b)
			d.boxes[b.place] = b
		}
		if len(h.boxes) == 0 {
			d.bare = append(d.bare, h)
			continue
		}
		h.index = len(d.hosts)
		d.hosts = append(d.hosts, h)
	}
}

func (d *drawing) addWires(t topology) {
	for i, e := range t.Edges {
		for _, p := range e.Paths {
			a, b := d.boxes[p.From], d.boxes[p.To]
			if a != nil && b != nil {
				d.wires = append(d.wires, &wire{edge: i, path: p, a: a, b: b})
			}
		}
	}
}

// orient turns every wire left to right, now that the columns are known.
func (d *drawing) orient() {
	for _, w := range d.wires {
		ca, cb := w.a.host.column, w.b.host.column
		w.loop = ca == cb
		if ca > cb {
			w.a, w.b, w.flipped = w.b, w.a, true
		}
		w.pa, w.pb = &port{wire: w}, &port{wire: w}
		w.a.right = append(w.a.right, w.pa)
		if w.loop {
			w.b.right = append(w.b.right, w.pb)
		} else {
			w.b.left = append(w.b.left, w.pb)
		}
	}
}

// sizeBoxes makes room for names and for the wires that end on a box.
func (d *drawing) sizeBoxes() {
	for _, h := range d.hosts {
		wide := serviceWide
		for _, b := range h.boxes {
			wide = max(wide, min(serviceWider, float64(len(b.place.Service))*charWidth+52))
		}
		wide = max(wide, min(serviceWider, float64(len(hostText(h.name)))*charWidth+30))
		for _, b := range h.boxes {
			b.W = wide
			b.H = max(serviceHigh, float64(max(len(b.left), len(b.right))+1)*portPitch)
		}
	}
}

func (d *drawing) emit(t topology) Layout {
	out := Layout{Hosts: []HostBox{}, Boxes: []ServiceBox{}, Edges: make([]EdgeRoute, len(t.Edges))}
	for i, e := range t.Edges {
		out.Edges[i] = EdgeRoute{Key: e.Key, Paths: []PathRoute{}}
	}
	dx, dy := d.bounds(&out)
	shift := func(r rect) rect {
		return rect{math.Round(r.X + dx), math.Round(r.Y + dy), math.Round(r.W), math.Round(r.H)}
	}
	for _, h := range append(append([]*host(nil), d.hosts...), d.bare...) {
		out.Hosts = append(out.Hosts, HostBox{h.name, fit(hostText(h.name), h.W-30), shift(h.rect)})
		for _, b := range h.boxes {
			out.Boxes = append(out.Boxes, ServiceBox{b.place.id(), b.place.Service, b.place.Host,
				fit(b.place.Service, b.W-46), shift(b.rect)})
		}
	}
	for _, w := range d.wires {
		e := &out.Edges[w.edge]
		e.Paths = append(e.Paths, PathRoute{w.path.From.id(), w.path.To.id(), d.curve(w, dx, dy)})
		for i, s := range w.gutters {
			if s.label {
				r := shift(rect{d.labelX(w.a.host.column + i), s.y - labelHigh/2, labelWide, labelHigh})
				e.Label = &r
			}
		}
	}
	return out
}

// bounds sets the size of the map and returns the shift that brings its top left
// corner to the margin.
func (d *drawing) bounds(out *Layout) (dx, dy float64) {
	top, bottom, right := math.Inf(1), math.Inf(-1), 0.0
	see := func(r rect) {
		top, bottom, right = min(top, r.Y), max(bottom, r.Y+r.H), max(right, r.X+r.W)
	}
	for _, h := range d.hosts {
		see(h.rect)
	}
	for g, slots := range d.slots {
		for _, s := range slots {
			see(rect{d.labelX(g), s.y - s.high/2, labelWide, s.high})
		}
	}
	for _, slots := range d.lanes {
		for _, s := range slots {
			see(rect{0, s.y - s.high/2, 0, s.high})
		}
	}
	if len(d.hosts) == 0 {
		top, bottom = 0, 0
	}
	bottom = d.placeBare(bottom, &right)
	out.Width, out.Height = math.Ceil(right+2*margin), math.Ceil(bottom-top+2*margin)
	return margin, margin - top
}

// placeBare sets hosts without services in rows below the rest.
func (d *drawing) placeBare(bottom float64, right *float64) float64 {
	limit := max(*right, 1000)
	x, y := 0.0, bottom
	if len(d.hosts) > 0 {
		y += hostGap
	}
	for _, h := range d.bare {
		h.W, h.H = max(serviceWide, min(serviceWider, float64(len(hostText(h.name)))*charWidth+30)), 58
		if x > 0 && x+h.W > limit {
			x, y = 0, y+h.H+serviceGap
		}
		h.X, h.Y = x, y
		x += h.W + serviceGap
		*right = max(*right, h.X+h.W)
		bottom = y + h.H
	}
	return bottom
}

func hostText(name string) string {
	if name == "" {
		return "not running"
	}
	return name
}

// fit cuts a name to a width. The middle goes: mesh names differ at their ends.
func fit(s string, width float64) string {
	n := int(width / charWidth)
	if len(s) <= n || n < 3 {
		return s
	}
	head := (n - 1) / 2
	return s[:head] + "…" + s[len(s)-(n-1-head):]
}

// number prints a coordinate with at most one decimal.
func number(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

func point(x, y float64) string { return number(x) + " " + number(y) }

func cubic(b *strings.Builder, x1, y1, x2, y2, x, y float64) {
	fmt.Fprintf(b, " C %s, %s, %s", point(x1, y1), point(x2, y2), point(x, y))
}
