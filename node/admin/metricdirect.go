package admin

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// DirectSeries is what a process with direct nodes shows of its channels. Entries of the
// same labels are added up.
type DirectSeries struct {
	Rings   []RingSeries
	Readers []ReaderSeries
	Paths   []PathSeries
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
}

// PathSeries is a channel's way to or from another host.
type PathSeries struct {
	Channel, Service, Node, Way, Path string
	Messages, Lost, Repaired, Refused uint64
}

// directSeriesMax bounds the entries of each list; what is beyond is left out, and counted.
const directSeriesMax = 1000

// directDescs names the series of channels. Their labels are names of the floor, which no
// program can choose.
type directDescs struct {
	written, full, unseen          *prometheus.Desc
	read, lost, lag                *prometheus.Desc
	carried, gone, repaired, wrong *prometheus.Desc
	path, omitted                  *prometheus.Desc
}

func newDirectDescs() directDescs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("fire_"+name, help, labels, nil)
	}
	ring, reader, path := []string{"channel", "writer"}, []string{"channel", "writer", "reader"}, []string{"channel", "service", "node", "way"}
	return directDescs{
		written:  desc("ring_written_messages_total", "Messages that a service has published on a channel of this host.", ring...),
		full:     desc("ring_full_total", "Times that a full lane refused a message.", ring...),
		unseen:   desc("ring_unseen_messages_total", "Messages that the audit came too late for.", ring...),
		read:     desc("ring_read_messages_total", "Messages that a service has read.", reader...),
		lost:     desc("ring_lost_messages_total", "Messages that were written over before a service had read them.", reader...),
		lag:      desc("ring_lag_lines", "How far a reader is behind, in lines of 64 bytes.", reader...),
		carried:  desc("path_messages_total", "Messages of a service that came from or went to another host.", path...),
		gone:     desc("path_lost_messages_total", "Messages that were lost between the hosts.", path...),
		repaired: desc("path_repaired_total", "Packets that were sent or asked for again.", path...),
		wrong:    desc("path_refused_datagrams_total", "Datagrams that were forged or malformed.", path...),
		path:     desc("path_info", "1, with how a channel goes to or from another host: udp, multicast, or quic where no datagram gets through.", append(path, "path")...),
		omitted:  desc("direct_series_omitted", "Rings, readers and paths that have no series because there are too many."),
	}
}

func (d *directDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.written, d.full, d.unseen, d.read, d.lost, d.lag, d.carried, d.gone, d.repaired, d.wrong, d.path, d.omitted}
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
		return a
	}, &omitted)
	for _, r := range readers {
		counter(ch, d.read, r.Messages, r.Channel, r.Writer, r.Reader)
		counter(ch, d.lost, r.Lost, r.Channel, r.Writer, r.Reader)
		gauge(ch, d.lag, float64(r.LagLines), r.Channel, r.Writer, r.Reader)
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
	gauge(ch, d.omitted, float64(omitted))
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
