package web

import (
	"sort"
	"strings"
)

// placeSlots gives every wire a slot in each gutter it crosses. The first wire of
// an edge carries the label, in the emptiest of its gutters.
func (d *drawing) placeSlots(t topology) {
	labelled := make([]bool, len(t.Edges))
	load := make([]int, len(d.columns))
	if len(d.wires) <= lanesMax {
		for _, w := range d.wires {
			d.slotsOf(w, labelled, load)
		}
	}
	d.placeX()
	for g, slots := range d.slots {
		items := make([]item, len(slots))
		for i, s := range slots {
			items[i] = item{want: d.wantSlot(s, g), high: s.high + slotGap, slot: s}
		}
		spread(items)
		for i := range items {
			items[i].slot.y = items[i].y
			slots[i] = items[i].slot
		}
	}
}

func (d *drawing) slotsOf(w *wire, labelled []bool, load []int) {
	from, to := w.a.host.column, w.b.host.column-1
	if w.loop {
		to = from
	}
	label := -1
	if d.labels && !labelled[w.edge] {
		label = from
		for g := from; g <= to; g++ {
			if load[g] < load[label] {
				label = g
			}
		}
		labelled[w.edge] = true
		load[label]++
	}
	for g := from; g <= to; g++ {
		s := &slot{wire: w, high: laneHigh}
		if g == label {
			s.label, s.high = true, labelHigh
		}
		w.gutters = append(w.gutters, s)
		d.slots[g] = append(d.slots[g], s)
	}
}

// wantSlot is where a straight wire would cross the gutter.
func (d *drawing) wantSlot(s *slot, g int) float64 {
	w := s.wire
	if w.loop {
		return (w.a.middle() + w.b.middle()) / 2
	}
	first := w.a.host.column
	before, after := w.a.middle(), w.b.middle()
	if i := g - first - 1; i >= 0 && i < len(w.lanes) {
		before = w.lanes[i].y
	}
	if i := g - first; i < len(w.lanes) {
		after = w.lanes[i].y
	}
	return (before + after) / 2
}

// placeX sets the columns' left edges; a gutter is as wide as it needs.
func (d *drawing) placeX() {
	d.x, d.wide = make([]float64, len(d.columns)), make([]float64, len(d.columns))
	x := 0.0
	for c, column := range d.columns {
		for _, h := range column {
			d.wide[c] = max(d.wide[c], h.W)
		}
		d.x[c] = x
		for _, h := range column {
			dx := x + (d.wide[c]-h.W)/2 - h.X
			h.X += dx
			for _, b := range h.boxes {
				b.X += dx
			}
		}
		x += d.wide[c] + d.gutterWide(c)
	}
}

func (d *drawing) gutterWide(g int) float64 {
	for _, s := range d.slots[g] {
		if s.label {
			return 2*bend + labelWide
		}
	}
	return 2 * bend
}

// labelX is the left edge of the labels in a gutter.
func (d *drawing) labelX(g int) float64 { return d.x[g] + d.wide[g] + bend }

// placePorts spreads the wires' ends along the sides of their boxes, in the order
// of where they go, so that they do not cross at the box.
func (d *drawing) placePorts() {
	for _, w := range d.wires {
		w.pa.aim, w.pb.aim = w.b.middle(), w.a.middle()
		if len(w.gutters) > 0 {
			w.pa.aim, w.pb.aim = w.gutters[0].y, w.gutters[len(w.gutters)-1].y
		}
		if w.loop {
			// The end nearer to the other box lies on the inside of the loop.
			w.pa.aim, w.pb.aim = w.b.middle(), w.a.middle()
		}
	}
	for _, b := range d.boxes {
		for _, ports := range [][]*port{b.left, b.right} {
			sort.SliceStable(ports, func(i, j int) bool { return ports[i].aim < ports[j].aim })
			for i, p := range ports {
				p.y = b.Y + b.H*float64(i+1)/float64(len(ports)+1)
			}
		}
	}
}

// curve is the wire's path data, always from the traffic's source to its
// destination, so that arrow heads and moving dashes run with the traffic.
func (d *drawing) curve(w *wire, dx, dy float64) string {
	if w.loop {
		return d.loop(w, dx, dy)
	}
	points := d.waypoints(w)
	if w.flipped {
		for i, j := 0, len(points)-1; i < j; i, j = i+1, j-1 {
			points[i], points[j] = points[j], points[i]
		}
	}
	var b strings.Builder
	b.WriteString("M " + point(points[0].x+dx, points[0].y+dy))
	for i := 1; i < len(points); i++ {
		p, q := points[i-1], points[i]
		if p.y == q.y {
			b.WriteString(" L " + point(q.x+dx, q.y+dy))
			continue
		}
		mid := (p.x + q.x) / 2
		cubic(&b, mid+dx, p.y+dy, mid+dx, q.y+dy, q.x+dx, q.y+dy)
	}
	return b.String()
}

type waypoint struct{ x, y float64 }

// waypoints are the ends of the wire's level stretches, left to right: it is level
// wherever it passes labels or hosts and bends only in between.
func (d *drawing) waypoints(w *wire) []waypoint {
	first := w.a.host.column
	out := []waypoint{{w.a.X + w.a.W, w.pa.y}}
	if edge := d.x[first] + d.wide[first]; edge > w.a.X+w.a.W {
		out = append(out, waypoint{edge, w.pa.y})
	}
	for i, s := range w.gutters {
		g := first + i
		left := d.labelX(g)
		right := left + d.gutterWide(g) - 2*bend
		out = append(out, waypoint{left, s.y}, waypoint{right, s.y})
		if i < len(w.lanes) {
			c := g + 1
			out = append(out, waypoint{d.x[c], w.lanes[i].y}, waypoint{d.x[c] + d.wide[c], w.lanes[i].y})
		}
	}
	if edge := d.x[w.b.host.column]; edge < w.b.X {
		out = append(out, waypoint{edge, w.pb.y})
	}
	return append(out, waypoint{w.b.X, w.pb.y})
}

// loop bulges to the right of its column and touches its label on the way.
func (d *drawing) loop(w *wire, dx, dy float64) string {
	g := w.a.host.column
	x0, y0, x1, y1 := w.a.X+w.a.W, w.pa.y, w.b.X+w.b.W, w.pb.y
	far := d.labelX(g) - bend*0.35
	at := (y0 + y1) / 2
	if len(w.gutters) > 0 {
		at = w.gutters[0].y
		if w.gutters[0].label {
			far = d.labelX(g)
		}
	}
	var b strings.Builder
	b.WriteString("M " + point(x0+dx, y0+dy))
	cubic(&b, (x0+far)/2+dx, y0+dy, far+dx, (y0+at)/2+dy, far+dx, at+dy)
	cubic(&b, far+dx, (at+y1)/2+dy, (x1+far)/2+dx, y1+dy, x1+dx, y1+dy)
	return b.String()
}
