package admin

import (
	"fmt"
	"testing"
)

func TestRingsAndPathsHaveSeries(t *testing.T) {
	src := MetricsSource{Edges: source(trading(t)).Edges, Gauges: func() Gauges { return Gauges{} }, Direct: func() DirectSeries {
		return DirectSeries{
			Rings:   []RingSeries{{"md", "feed", 10, 1, 2}, {"md", "feed", 5, 0, 0}},
			Readers: []ReaderSeries{{"md", "feed", "a", 7, 1, 3, []uint64{0, 0, 0, 0, 0, 0, 0, 2}}, {"md", "feed", "a", 7, 1, 9, []uint64{0, 0, 0, 0, 0, 0, 0, 1, 4}}, {"md", "feed", "b", 1, 0, 0, nil}},
			Sockets: []SocketSeries{{"md", "", "to", 1, 2, 3}, {"md", "", "to", 1, 0, 0}},
			Counts:  DirectCounts{6, 5, 4, 3, 2, 1, 7, 8, 9},
			Paths:   []PathSeries{{"md", "feed", "host-2", "to", "udp", 15, 4, 3, 2}},
		}
	}}
	f, _ := scrape(t, NewMetrics(src), "text/plain")
	ring, reader, path := []string{"channel=md", "writer=feed"}, []string{"channel=md", "reader=a", "writer=feed"}, []string{"channel=md", "node=host-2", "service=feed", "way=to"}
	socket := []string{"channel=md", "node=", "way=to"}
	for name, c := range map[string]struct {
		labels []string
		want   float64
	}{
		"fire_ring_written_messages_total": {ring, 15}, "fire_ring_full_refusals_total": {ring, 1}, "fire_ring_unseen_messages_total": {ring, 2},
		"fire_ring_read_messages_total": {reader, 14}, "fire_ring_lost_messages_total": {reader, 2}, "fire_ring_lag_lines": {reader, 9},
		"fire_path_messages_total": {path, 15}, "fire_path_lost_messages_total": {path, 4}, "fire_path_repaired_total": {path, 3}, "fire_path_refused_datagrams_total": {path, 2},
		"fire_path_info": {[]string{"channel=md", "node=host-2", "path=udp", "service=feed", "way=to"}, 1}, "fire_direct_series_omitted": {nil, 0},
		"fire_path_unsent_datagrams_total": {socket, 2}, "fire_path_dropped_datagrams_total": {socket, 2}, "fire_path_cut_datagrams_total": {socket, 3},
		"fire_direct_attached_total": {nil, 6}, "fire_direct_refused_total": {nil, 5}, "fire_direct_died_total": {nil, 4}, "fire_direct_cut_total": {nil, 3},
		"fire_direct_adopted_total": {nil, 2}, "fire_direct_given_up_messages_total": {nil, 1}, "fire_direct_held_total": {nil, 8}, "fire_direct_ended_total": {nil, 9},
		"fire_direct_released_lanes_total": {nil, 7},
	} {
		m := value(t, f[name], c.labels...)
		if got := m.GetCounter().GetValue() + m.GetGauge().GetValue(); got != c.want {
			t.Errorf("%s is %v, want %v", name, got, c.want)
		}
	}
}

// TestLatencyOfARingIsAHistogram adds up two programs of one service.
func TestLatencyOfARingIsAHistogram(t *testing.T) {
	src := MetricsSource{Edges: source(trading(t)).Edges, Gauges: func() Gauges { return Gauges{} }, Direct: func() DirectSeries {
		a, b := make([]uint64, 64), make([]uint64, 64)
		a[3], a[7], b[7], b[20], b[50] = 1, 2, 3, 4, 5
		return DirectSeries{Readers: []ReaderSeries{{"md", "feed", "a", 7, 1, 3, a}, {"md", "feed", "a", 7, 1, 9, b}}}
	}}
	f, _ := scrape(t, NewMetrics(src), "text/plain")
	h := value(t, f["fire_ring_latency_seconds"], "channel=md", "reader=a", "writer=feed").GetHistogram()
	if h.GetSampleCount() != 15 {
		t.Fatal(h)
	}
	at := map[float64]uint64{}
	for _, b := range h.GetBucket() {
		at[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	if at[64e-9] != 1 || at[256e-9] != 6 || len(at) < 20 {
		t.Errorf("%v", at)
	}
	if s := h.GetSampleSum(); s < 5*1e6 || s > 10*1e6 {
		t.Errorf("sum %v", s) // five of 13 days or so
	}
}

func TestTooManyRingsAreLeftOutAndCounted(t *testing.T) {
	src := MetricsSource{Edges: source(trading(t)).Edges, Gauges: func() Gauges { return Gauges{} }, Direct: func() (s DirectSeries) {
		for i := range directSeriesMax + 7 {
			s.Rings = append(s.Rings, RingSeries{Channel: fmt.Sprint("c", i), Writer: "w"})
		}
		return s
	}}
	f, _ := scrape(t, NewMetrics(src), "text/plain")
	if n := len(f["fire_ring_written_messages_total"].GetMetric()); n != directSeriesMax {
		t.Errorf("%d series", n)
	}
	if got := value(t, f["fire_direct_series_omitted"]).GetGauge().GetValue(); got != 7 {
		t.Errorf("%v are left out", got)
	}
}
