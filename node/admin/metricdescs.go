package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fire/transport/meter"
)

// metricDescs names every series. The labels of an edge are src, dst and side, and
// for failures reason: a closed set, none of which a client of the mesh can choose.
type metricDescs struct {
	opened, closed, refused, requests, errors, failures *prometheus.Desc
	sent, received, active, lastUse, latency, connect   *prometheus.Desc

	build, linked, catalogVersion, snapshotAge, clockSkew, certExpiry  *prometheus.Desc
	cells, cellsUsed, overflows, folded, sessions, peerLosses          *prometheus.Desc
	handshakes, telemetry, services, spinHits, spinMisses, spinSeconds *prometheus.Desc
}

func newMetricDescs() metricDescs {
	edge := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("fire_edge_"+name, help, append([]string{"src", "dst", "side"}, more...), nil)
	}
	fact := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("fire_"+name, help, labels, nil)
	}
	return metricDescs{
		opened:   edge("connections_opened_total", "Connections accepted for this edge."),
		closed:   edge("connections_closed_total", "Connections of this edge that have ended."),
		refused:  edge("connections_refused_total", "Connections refused before a byte was forwarded."),
		requests: edge("requests_total", "Requests, or connections where the protocol has none."),
		errors:   edge("errors_total", "Requests or connections that failed."),
		failures: edge("failures_total", "Refusals and breaks by reason code.", "reason"),
		sent:     edge("sent_bytes_total", "Bytes from source to destination."),
		received: edge("received_bytes_total", "Bytes from destination to source."),
		active:   edge("active_connections", "Connections open now."),
		lastUse:  edge("last_use_timestamp_seconds", "When the edge was last used."),
		latency:  edge("latency_seconds", "Time of a request."),
		connect:  edge("connect_seconds", "Time until the other application was connected."),

		build:          fact("build_info", "1, with the release of this process and its node.", "release", "node"),
		linked:         fact("node_linked", "1 when this node has a link to control."),
		catalogVersion: fact("catalog_version", "Version of the catalogue in use."),
		snapshotAge:    fact("catalog_snapshot_age_seconds", "Age of the catalogue in use."),
		clockSkew:      fact("control_clock_skew_seconds", "Clock of control minus clock of this host."),
		certExpiry:     fact("cert_expiry_timestamp_seconds", "End of the certificate held for this id.", "id"),
		cells:          fact("meter_cells", "Edges that the meter page has room for."),
		cellsUsed:      fact("meter_cells_used", "Edges in the meter page."),
		overflows:      fact("meter_overflows_total", "Edges that found the meter page full and share one cell."),
		folded:         fact("metrics_edges_folded", "Edges that share the series src=overflow because there are too many."),
		sessions:       fact("mesh_sessions", "Live sessions to other proxies and control."),
		peerLosses:     fact("mesh_peer_losses_total", "Sessions that died because heartbeats stopped."),
		handshakes:     fact("mesh_handshakes_refused_total", "Handshakes that the limiter refused."),
		telemetry:      fact("telemetry_dropped_total", "Telemetry reports that could not be sent."),
		services:       fact("services_registered", "Services that this node has registered."),
		spinHits:       fact("spin_hits_total", "Messages that came while the process looked for them instead of sleeping."),
		spinMisses:     fact("spin_misses_total", "Times that it looked and none came."),
		spinSeconds:    fact("spin_cpu_seconds_total", "Processor time of both."),
	}
}

func (d *metricDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.opened, d.closed, d.refused, d.requests, d.errors, d.failures, d.sent, d.received,
		d.active, d.lastUse, d.latency, d.connect, d.build, d.linked, d.catalogVersion, d.snapshotAge, d.clockSkew,
		d.certExpiry, d.cells, d.cellsUsed, d.overflows, d.folded, d.sessions, d.peerLosses, d.handshakes, d.telemetry, d.services,
		d.spinHits, d.spinMisses, d.spinSeconds}
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (d *metricDescs) edge(ch chan<- prometheus.Metric, e *meter.EdgeSnapshot) {
	labels := []string{e.Src, e.Dst, e.Side}
	counter(ch, d.opened, e.Opened, labels...)
	counter(ch, d.closed, e.Closed, labels...)
	counter(ch, d.refused, e.Refused, labels...)
	counter(ch, d.requests, e.Requests, labels...)
	counter(ch, d.errors, e.Errors, labels...)
	counter(ch, d.sent, e.BytesOut, labels...)
	counter(ch, d.received, e.BytesIn, labels...)
	gauge(ch, d.active, float64(e.Active), labels...)
	if e.LastUnixNanos > 0 {
		gauge(ch, d.lastUse, float64(e.LastUnixNanos)/1e9, labels...)
	}
	for code, n := range e.Reasons {
		counter(ch, d.failures, n, append(labels[:3:3], reasonLabel(code))...)
	}
	histogram(ch, d.latency, e.Latency, labels)
	histogram(ch, d.connect, e.Connect, labels)
}

func (d *metricDescs) gauges(ch chan<- prometheus.Metric, g Gauges, folded int) {
	gauge(ch, d.build, 1, g.Release, g.Node)
	linked := 0.0
	if g.Linked {
		linked = 1
	}
	gauge(ch, d.linked, linked)
	gauge(ch, d.catalogVersion, float64(g.CatalogVersion))
	gauge(ch, d.snapshotAge, g.SnapshotAge.Seconds())
	gauge(ch, d.clockSkew, g.ClockSkew.Seconds())
	for id, end := range g.Certificates {
		gauge(ch, d.certExpiry, float64(end.UnixNano())/float64(time.Second), id)
	}
	gauge(ch, d.cells, float64(g.MeterCells))
	gauge(ch, d.cellsUsed, float64(g.MeterCellsUsed))
	counter(ch, d.overflows, g.MeterOverflows)
	gauge(ch, d.folded, float64(folded))
	gauge(ch, d.sessions, float64(g.Sessions))
	counter(ch, d.peerLosses, g.PeerLosses)
	counter(ch, d.handshakes, g.HandshakesRefused)
	counter(ch, d.telemetry, g.TelemetryDropped)
	gauge(ch, d.services, float64(g.ServicesRegistered))
	counter(ch, d.spinHits, g.SpinHits)
	counter(ch, d.spinMisses, g.SpinMisses)
	ch <- prometheus.MustNewConstMetric(d.spinSeconds, prometheus.CounterValue, g.SpinTime.Seconds())
}
