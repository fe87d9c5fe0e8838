package node

import (
	"context"
	"time"

	"fire/node/admin"
	"fire/node/direct"
	"fire/policy/reason"
	"fire/transport/meter"
	"fire/twin"
)

// directProtocol is what the map shows of an edge that goes through shared memory.
const directProtocol = twin.ProtocolShm

// farProtocol is the same of one that comes from another host, before more is known.
const farProtocol = twin.ProtocolUDP

// readWithin bounds the wait for the broker's loop; a report without its edges is better
// than none.
const readWithin = 100 * time.Millisecond

// deltas is what the direct paths of this host have carried since the last call, as edges
// from a writer to each of its readers. The agent's one link calls it.
func (d *directNode) deltas() []twin.EdgeDelta {
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	rings, err := d.broker.Rings(ctx)
	if err != nil {
		return nil
	}
	now := make([]direct.At[direct.Ring], len(rings))
	for i := range rings {
		now[i].Value = rings[i]
	}
	since := direct.Since(d.told, now)
	seen := map[uint64]bool{}
	for _, r := range d.told {
		for _, x := range r.Value.Readers {
			seen[x.Link] = true
		}
	}
	d.told = now
	var out []twin.EdgeDelta
	for _, r := range since {
		for _, x := range r.Value.Readers {
			if x.Far {
				continue // the other host tells of who reads there
			}
			out = append(out, d.edge(&r.Value, &x, !seen[x.Link])...)
		}
	}
	return out
}

// edge tells both ends when they are on this host. A slow reader's lost messages are errors of
// the edge.
func (d *directNode) edge(r *direct.Ring, x *direct.RingReader, opened bool) []twin.EdgeDelta {
	e := twin.EdgeDelta{Src: r.Writer.Service, Dst: x.Service, Side: twin.SideOut, Protocol: directProtocol, Peer: d.self.Name, Secured: true,
		Requests: x.Stat.Messages, BytesOut: x.Stat.Bytes, Errors: x.Stat.Lost, Latency: latencies(x)}
	if r.Writer.Far {
		e.Protocol = d.pathOf(r)
	}
	if x.State == "reading" {
		e.Active = 1
	}
	if opened {
		e.Opened = 1
	}
	if e.Errors > 0 {
		e.Requests += e.Errors
		e.Reasons = map[string]uint64{reason.SlowReader.String(): e.Errors}
	}
	in := e
	in.Side = twin.SideIn
	if r.Writer.Far { // the publisher's own side is its host's to tell, which sees a window and no readers
		return []twin.EdgeDelta{in}
	}
	return []twin.EdgeDelta{e, in}
}

// samplesMax bounds the work for one reader and report; the shape is the same.
const samplesMax = 2000

// latencies turns powers of two into the meter's buckets, each at its middle.
func latencies(x *direct.RingReader) meter.HistSnapshot {
	var h meter.Histogram
	total := x.Stat.Latency.Count()
	for i, n := range x.Stat.Latency {
		if total > samplesMax {
			n = n * samplesMax / total
		}
		for range n {
			h.Record(time.Duration(3 << i >> 1))
		}
	}
	return h.Snapshot()
}

// pathOf is how messages of a publisher on another host come here.
func (d *directNode) pathOf(r *direct.Ring) string {
	for _, p := range d.bridge.Paths() {
		if p.Way == "from" && p.Channel == r.Channel && p.Service == r.Writer.Service && p.Node == r.Writer.Node && p.Path != "" {
			return p.Path
		}
	}
	return farProtocol
}

// series is what Prometheus is shown of the direct paths.
func (d *directNode) series(s *admin.DirectSeries) {
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	rings, err := d.broker.Rings(ctx)
	if err != nil {
		return // the next scrape has them
	}
	if c, err := d.broker.Count(ctx); err == nil {
		s.Counts.Add(admin.DirectCounts{Attached: c.Attached, Refused: c.Refused, Died: c.Died, Cut: c.Cut, Adopted: c.Adopted, GivenUp: c.LostMsgs, Released: c.Released, Held: c.Held, Ended: c.Ended})
	}
	for _, r := range rings {
		writer := r.Writer.Service
		if r.Writer.Far {
			writer += "@" + r.Writer.Node
		}
		s.Rings = append(s.Rings, admin.RingSeries{Channel: r.Channel, Writer: writer, Messages: r.Stat.Messages, Full: r.Stat.Full, Unseen: r.Unseen})
		for _, x := range r.Readers {
			if !x.Far {
				s.Readers = append(s.Readers, admin.ReaderSeries{Channel: r.Channel, Writer: writer, Reader: x.Service, Messages: x.Stat.Messages, Lost: x.Stat.Lost, LagLines: x.Lag, Latency: x.Stat.Latency[:]})
			}
		}
	}
	seen := map[admin.SocketSeries]bool{}
	for _, p := range d.bridge.Paths() {
		if p.Path != "" {
			k := admin.SocketSeries{Channel: p.Channel, Node: p.Node, Way: p.Way}
			if p.Way == "to" {
				k.Node = "" // one socket for all hosts
			}
			if !seen[k] {
				seen[k] = true
				k.Unsent, k.Dropped, k.Cut = p.Socket.Unsent, p.Socket.Dropped, p.Socket.Cut
				s.Sockets = append(s.Sockets, k)
			}
			s.Paths = append(s.Paths, admin.PathSeries{Channel: p.Channel, Service: p.Service, Node: p.Node, Way: p.Way, Path: p.Path,
				Messages: p.Messages, Lost: p.Lost, Repaired: p.Repaired, Refused: p.Refused})
		}
	}
}
