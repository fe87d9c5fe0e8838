package admin

import (
	"cmp"
	"math"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// DirectSeries is what a process with direct nodes shows of its channels. Entries of the
// same labels are added up.
type DirectSeries struct {
	Rings   []RingSeries
	Readers []ReaderSeries
	Paths   []PathSeries
	Sockets []SocketSeries
	Counts  DirectCounts
}

// DirectCounts is what happened to the ends of channels since the start.
type DirectCounts struct {
	Attached, Refused, Died, Cut, Adopted, GivenUp, Released, Held, Ended uint64
}

// Add adds another direct node of the process.
func (c *DirectCounts) Add(o DirectCounts) {
	c.Released += o.Released
	c.Attached, c.Refused, c.Died, c.Cut, c.Adopted, c.GivenUp = c.Attached+o.Attached, c.Refused+o.Refused, c.Died+o.Died, c.Cut+o.Cut, c.Adopted+o.Adopted, c.GivenUp+o.GivenUp
	c.Held, c.Ended = c.Held+o.Held, c.Ended+o.Ended
}

// RingSeries is what a service has published on a channel of this host.
type RingSeries struct {
	Channel, Writer string
	Messages, Full  uint64
	Unseen          uint64 // messages that the audit came too late for
}

// ReaderSeries is what a service has read of it.
type ReaderSeries struct {
	Channel, Writer, Reader string
	Messages, Lost          uint64
	LagLines                uint64
	Latency                 []uint64 // of sampled messages, from 2^i ns on
}

// PathSeries is a channel's way to or from another host.
type PathSeries struct {
	Channel, Service, Node, Way, Path string
	Messages, Lost, Repaired, Refused uint64
}

// SocketSeries is what the kernel has done for a channel's datagrams. All lanes of a channel
// to other hosts share a socket (Node is empty); each host that they come from has one.
type SocketSeries struct {
	Channel, Node, Way   string
	Unsent, Dropped, Cut uint64
}

// directSeriesMax bounds the entries of each list; what is beyond is left out, and counted.
const directSeriesMax = 1000

// directDescs names the series of channels. Their labels are names of the floor, which no
// program can choose.
type directDescs struct {
	written, full, unseen          *prometheus.Desc
	read, lost, lag                *prometheus.Desc
	carried, gone, repaired, wrong *prometheus.Desc
	path, omitted, latency         *prometheus.Desc
	unsent, dropped, tooLong       *prometheus.Desc

	attached, refused, died, cut, adopted, givenUp, released *prometheus.Desc
	held, ended                                              *prometheus.Desc
}

func newDirectDescs() directDescs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("fire_"+name, help, labels, nil)
	}
	ring, reader, path := []string{"channel", "writer"}, []string{"channel", "writer", "reader"}, []string{"channel", "service", "node", "way"}
	socket := []string{"channel", "node", "way"}
	return directDescs{
		written:  desc("ring_written_messages_total", "Messages that a service has published on a channel of this host.", ring...),
		full:     desc("ring_full_refusals_total", "Times that a full lane refused a message.", ring...),
		unseen:   desc("ring_unseen_messages_total", "Messages that the audit came too late for.", ring...),
		read:     desc("ring_read_messages_total", "Messages that a service has read.", reader...),
		lost:     desc("ring_lost_messages_total", "Messages that were written over before a service had read them.", reader...),
		lag:      desc("ring_lag_lines", "How far a reader is behind, in lines of 64 bytes.", reader...),
		carried:  desc("path_messages_total", "Messages of a service that came from or went to another host.", path...),
		gone:     desc("path_lost_messages_total", "Messages that were lost between the hosts.", path...),
		repaired: desc("path_repaired_total", "Packets that were sent or asked for again.", path...),
		wrong:    desc("path_refused_datagrams_total", "Datagrams that were forged or malformed.", path...),
		latency:  desc("ring_latency_seconds", "Time from a message's writing to its reading, of sampled messages, within a factor of two.", reader...),
		unsent:   desc("path_unsent_datagrams_total", "Datagrams that the kernel did not take.", socket...),
		dropped:  desc("path_dropped_datagrams_total", "Datagrams that came and that the kernel had no room for.", socket...),
		tooLong:  desc("path_cut_datagrams_total", "Datagrams that came and were longer than any that was agreed.", socket...),
		attached: desc("direct_attached_total", "Ends of channels that attached on this host."),
		refused:  desc("direct_refused_total", "Ends that were refused."),
		died:     desc("direct_died_total", "Programs that died while attached, by their ends."),
		cut:      desc("direct_cut_total", "Ends and pairs that were cut by decision."),
		adopted:  desc("direct_adopted_total", "Rings of an earlier direct node that go on."),
		givenUp:  desc("direct_given_up_messages_total", "Messages of orders whose reader is gone and that nobody will read."),
		released: desc("direct_released_lanes_total", "Lanes that ended because their writer died."),
		held:     desc("direct_held_total", "Processes that still had a ring when their time to let go after a cut was up."),
		ended:    desc("direct_ended_total", "Processes that were ended for that."),
		path:     desc("path_info", "1, with how a channel goes to or from another host: udp, multicast, or quic where no datagram gets through.", append(path, "path")...),
		omitted:  desc("direct_series_omitted", "Rings, readers and paths that have no series because there are too many."),
	}
}

func (d *directDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.written, d.full, d.unseen, d.read, d.lost, d.lag, d.carried, d.gone, d.repaired, d.wrong, d.path, d.omitted,
		d.latency, d.unsent, d.dropped, d.tooLong, d.attached, d.refused, d.died, d.cut, d.adopted, d.givenUp, d.released, d.held, d.ended}
}

// collect adds up what has the same labels, as two programs of one service have.
func (d *directDescs) collect(ch chan<- prometheus.Metric, s DirectSeries) {
	omitted := 0
	rings := fold(s.Rings, func(r RingSeries) string { return r.Channel + "\x00" + r.Writer }, func(a, b RingSeries) RingSeries {
		a.Messages, a.Full, a.Unseen = a.Messages+b.Messages, a.Full+b.Full, a.Unseen+b.Unseen
		return a
	}, &omitted)
	for _, r := range rings {
		counter(ch, d.written, r.Messages, r.Channel, r.Writer)
		counter(ch, d.full, r.Full, r.Channel, r.Writer)
		counter(ch, d.unseen, r.Unseen, r.Channel, r.Writer)
	}
	readers := fold(s.Readers, func(r ReaderSeries) string { return r.Channel + "\x00" + r.Writer + "\x00" + r.Reader }, func(a, b ReaderSeries) ReaderSeries {
		a.Messages, a.Lost, a.LagLines = a.Messages+b.Messages, a.Lost+b.Lost, max(a.LagLines, b.LagLines)
		a.Latency = slices.Clone(a.Latency)
		for i, n := range b.Latency {
			if i < len(a.Latency) {
				a.Latency[i] += n
			} else {
				a.Latency = append(a.Latency, n)
			}
		}
		return a
	}, &omitted)
	for _, r := range readers {
		counter(ch, d.read, r.Messages, r.Channel, r.Writer, r.Reader)
		counter(ch, d.lost, r.Lost, r.Channel, r.Writer, r.Reader)
		gauge(ch, d.lag, float64(r.LagLines), r.Channel, r.Writer, r.Reader)
		powers(ch, d.latency, r.Latency, r.Channel, r.Writer, r.Reader)
	}
	paths := fold(s.Paths, func(p PathSeries) string { return p.Channel + "\x00" + p.Service + "\x00" + p.Node + "\x00" + p.Way }, func(a, b PathSeries) PathSeries {
		a.Messages, a.Lost, a.Repaired, a.Refused = a.Messages+b.Messages, a.Lost+b.Lost, a.Repaired+b.Repaired, a.Refused+b.Refused
		return a
	}, &omitted)
	for _, p := range paths {
		labels := []string{p.Channel, p.Service, p.Node, p.Way}
		counter(ch, d.carried, p.Messages, labels...)
		counter(ch, d.gone, p.Lost, labels...)
		counter(ch, d.repaired, p.Repaired, labels...)
		counter(ch, d.wrong, p.Refused, labels...)
		gauge(ch, d.path, 1, append(labels, p.Path)...)
	}
	sockets := fold(s.Sockets, func(x SocketSeries) string { return x.Channel + "\x00" + x.Node + "\x00" + x.Way }, func(a, b SocketSeries) SocketSeries {
		a.Unsent, a.Dropped, a.Cut = a.Unsent+b.Unsent, a.Dropped+b.Dropped, a.Cut+b.Cut
		return a
	}, &omitted)
	for _, x := range sockets {
		counter(ch, d.unsent, x.Unsent, x.Channel, x.Node, x.Way)
		counter(ch, d.dropped, x.Dropped, x.Channel, x.Node, x.Way)
		counter(ch, d.tooLong, x.Cut, x.Channel, x.Node, x.Way)
	}
	c := s.Counts
	counter(ch, d.attached, c.Attached)
	counter(ch, d.refused, c.Refused)
	counter(ch, d.died, c.Died)
	counter(ch, d.cut, c.Cut)
	counter(ch, d.adopted, c.Adopted)
	counter(ch, d.givenUp, c.GivenUp)
	counter(ch, d.released, c.Released)
	counter(ch, d.held, c.Held)
	counter(ch, d.ended, c.Ended)
	gauge(ch, d.omitted, float64(omitted))
}

// Buckets of a ring's latency go from 64 ns to 17 s; what is outside is in the first, or
// above the last.
const (
	powerFirst = 6
	powerLast  = 34
)

// powers shows counts by powers of two of nanoseconds as a histogram. Its sum takes each for the
// middle of its bucket.
func powers(ch chan<- prometheus.Metric, d *prometheus.Desc, counts []uint64, labels ...string) {
	total, sum, buckets := uint64(0), 0.0, map[float64]uint64{}
	for i, n := range counts {
		total += n
		sum += float64(n) * 1.5 * math.Ldexp(1e-9, i)
		if i >= powerFirst-1 && i < powerLast {
			buckets[math.Ldexp(1e-9, i+1)] = total
		}
	}
	m, err := prometheus.NewConstHistogram(d, total, sum, buckets, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	ch <- m
}

// fold joins the entries of one key, in the order of the keys, and bounds them.
func fold[T any](in []T, key func(T) string, join func(a, b T) T, omitted *int) (out []T) {
	at := map[string]int{}
	for _, x := range in {
		k := key(x)
		if i, ok := at[k]; ok {
			out[i] = join(out[i], x)
			continue
		}
		if len(out) == directSeriesMax {
			*omitted++
			continue
		}
		at[k] = len(out)
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	return out
}
