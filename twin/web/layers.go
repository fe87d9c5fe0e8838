package web

import (
	"math"
	"slices"
	"sort"
)

// rankHosts gives every host its column: callers left of what they call. Cycles
// are broken by an order that leaves few arcs pointing back (Eades, Lin, Smyth
// 1993), with names as the tie-breaker.
func (d *drawing) rankHosts() {
	n := len(d.hosts)
	arcs := make([]map[int]int, n) // arcs[i][j]: wires from host i to host j
	for i := range arcs {
		arcs[i] = map[int]int{}
	}
	for _, w := range d.wires {
		if i, j := w.a.host.index, w.b.host.index; i != j {
			arcs[i][j]++
		}
	}
	order := acyclicOrder(arcs)
	position := make([]int, n)
	for p, i := range order {
		position[i] = p
	}
	rank := make([]int, n)
	for _, i := range order {
		for j := range arcs[i] {
			if position[j] > position[i] {
				rank[j] = max(rank[j], rank[i]+1)
			}
		}
	}
	d.fillColumns(rank)
}

// fillColumns makes columns of ranks; a rank that is too tall takes several.
func (d *drawing) fillColumns(rank []int) {
	tall := max(3, int(math.Ceil(1.2*math.Sqrt(float64(len(d.hosts))))))
	for r := 0; r <= slices.Max(append([]int{-1}, rank...)); r++ {
		var column []*host
		for i, h := range d.hosts {
			if rank[i] != r {
				continue
			}
			if len(column) == tall {
				d.columns = append(d.columns, column)
				column = nil
			}
			column = append(column, h)
		}
		if len(column) > 0 {
			d.columns = append(d.columns, column)
		}
	}
	for c, column := range d.columns {
		for _, h := range column {
			h.column = c
		}
	}
}

// acyclicOrder orders the vertices so that most arcs point forward. Ties go to the
// lower index, which is the order of names.
func acyclicOrder(arcs []map[int]int) []int {
	n := len(arcs)
	out, in := make([]int, n), make([]int, n)
	for i, m := range arcs {
		for j, w := range m {
			out[i] += w
			in[j] += w
		}
	}
	left, right := []int{}, []int{}
	alive := make([]bool, n)
	for i := range alive {
		alive[i] = true
	}
	remove := func(v int) {
		alive[v] = false
		for j, w := range arcs[v] {
			in[j] -= w
		}
		for i := range arcs {
			if w := arcs[i][v]; w > 0 {
				out[i] -= w
			}
		}
	}
	for len(left)+len(right) < n {
		best, sink := -1, false
		for v := range n {
			switch {
			case !alive[v] || sink:
			case in[v] == 0 && (best < 0 || in[best] != 0):
				best = v
			case out[v] == 0 && in[v] != 0 && (best < 0 || in[best] != 0):
				best, sink = v, true
			case best < 0 || in[best] != 0 && out[v]-in[v] > out[best]-in[best]:
				best = v
			}
		}
		remove(best)
		if sink {
			right = append(right, best)
		} else {
			left = append(left, best)
		}
	}
	slices.Reverse(right)
	return append(left, right...)
}

// placeColumns orders and places hosts and services by the height of what they
// talk to, in a fixed number of sweeps.
func (d *drawing) placeColumns() {
	d.slots = make([][]*slot, len(d.columns))
	d.lanes = make([][]*slot, len(d.columns))
	for _, w := range d.wires {
		for c := w.a.host.column + 1; c < w.b.host.column; c++ {
			if len(d.wires) <= lanesMax {
				s := &slot{wire: w, high: laneHigh}
				w.lanes = append(w.lanes, s)
				d.lanes[c] = append(d.lanes[c], s)
			}
		}
	}
	for c := range d.columns {
		d.stack(c)
	}
	const sweeps = 6
	for i := range sweeps {
		for c := range d.columns {
			if i%2 == 1 {
				c = len(d.columns) - 1 - c
			}
			d.settle(c, i < sweeps-2)
		}
	}
}

// stack is the starting position: the column centred on 0.
func (d *drawing) stack(c int) {
	y := 0.0
	for _, h := range d.columns[c] {
		h.shape()
		h.moveTo(y)
		y += h.H + hostGap
	}
	for _, h := range d.columns[c] {
		h.moveTo(h.Y - (y-hostGap)/2)
	}
}

// shape lays a host's services out inside it.
func (h *host) shape() {
	rows := min(len(h.boxes), columnTall)
	tall := 0.0
	for i := 0; i < len(h.boxes); i += rows {
		y := hostTitle
		for _, b := range h.boxes[i:min(i+rows, len(h.boxes))] {
			b.X, b.Y = hostPad+float64(i/rows)*(b.W+serviceGap), y
			y += b.H + serviceGap
		}
		tall = max(tall, y-serviceGap+hostPad)
	}
	columns := float64((len(h.boxes) + rows - 1) / rows)
	h.W, h.H = 2*hostPad+columns*(h.boxes[0].W+serviceGap)-serviceGap, tall
	for _, b := range h.boxes {
		b.X, b.Y = b.X+h.X, b.Y+h.Y
	}
}

func (h *host) moveTo(y float64) {
	for _, b := range h.boxes {
		b.Y += y - h.Y
	}
	h.Y = y
}

// settle moves one column's hosts and lanes next to what they talk to.
func (d *drawing) settle(c int, reorder bool) {
	wants := d.wants()
	for _, h := range d.columns[c] {
		if reorder {
			sort.SliceStable(h.boxes, func(i, j int) bool { return wants[h.boxes[i]] < wants[h.boxes[j]] })
		}
		h.shape()
	}
	items := make([]item, 0, len(d.columns[c])+len(d.lanes[c]))
	for _, h := range d.columns[c] {
		sum := 0.0
		for _, b := range h.boxes {
			sum += wants[b] - (b.middle() - h.middle())
		}
		items = append(items, item{want: sum / float64(len(h.boxes)), high: h.H + hostGap, host: h})
	}
	for _, s := range d.lanes[c] {
		a, b := s.wire.a, s.wire.b
		part := float64(c-a.host.column) / float64(b.host.column-a.host.column)
		items = append(items, item{want: a.middle() + part*(b.middle()-a.middle()), high: s.high + slotGap, slot: s})
	}
	spread(items)
	for _, it := range items {
		if it.host != nil {
			it.host.moveTo(it.y - it.host.H/2)
		} else {
			it.slot.y = it.y
		}
	}
}

// wants is the height each box would like: the mean of its partners in other
// columns, or its own when it has none.
func (d *drawing) wants() map[*box]float64 {
	sum, n := map[*box]float64{}, map[*box]float64{}
	for _, w := range d.wires {
		if w.loop {
			continue
		}
		sum[w.a] += w.b.middle()
		n[w.a]++
		sum[w.b] += w.a.middle()
		n[w.b]++
	}
	out := map[*box]float64{}
	for _, b := range d.boxes {
		out[b] = b.middle()
		if n[b] > 0 {
			out[b] = sum[b] / n[b]
		}
	}
	return out
}

// item is something of a height that wants to be at a place in a layer.
type item struct {
	want, high, y float64
	host          *host
	slot          *slot
}

// spread orders items by what they want and gives each the nearest place without
// overlap: least squares by pooling adjacent violators.
func spread(items []item) {
	sort.SliceStable(items, func(i, j int) bool { return items[i].want < items[j].want })
	type pool struct {
		first, n int
		sum      float64 // of want minus offset
	}
	offset := make([]float64, len(items))
	var pools []pool
	at := 0.0
	for i := range items {
		offset[i] = at + items[i].high/2
		at += items[i].high
		pools = append(pools, pool{i, 1, items[i].want - offset[i]})
		for len(pools) > 1 {
			a, b := pools[len(pools)-2], pools[len(pools)-1]
			if a.sum/float64(a.n) <= b.sum/float64(b.n) {
				break
			}
			pools = append(pools[:len(pools)-2], pool{a.first, a.n + b.n, a.sum + b.sum})
		}
	}
	for _, p := range pools {
		for i := p.first; i < p.first+p.n; i++ {
			items[i].y = p.sum/float64(p.n) + offset[i]
		}
	}
}
