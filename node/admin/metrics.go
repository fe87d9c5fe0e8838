package admin

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fire/policy/reason"
	"fire/transport/meter"
)

// MetricsEdgesMax is the number of edges that get series of their own when
// MetricsSource.EdgesMax is 0. An edge costs at most 12 series and one per reason.
const MetricsEdgesMax = 500

// MetricsSource is where /metrics takes its numbers from, at each scrape. All
// functions may be called by several goroutines at once.
type MetricsSource struct {
	Edges    func() []meter.EdgeSnapshot
	Gauges   func() Gauges
	Direct   func() DirectSeries // nil: no direct node
	Audit    func() []AuditState // nil: no audit log
	EdgesMax int
}

// Gauges are the facts of a process that are no edge.
type Gauges struct {
	Release            string
	Node               string
	Linked             bool
	CatalogVersion     uint64
	SnapshotAge        time.Duration
	ClockSkew          time.Duration
	Certificates       map[string]time.Time // SPIFFE id to its end
	MeterCells         int
	MeterCellsUsed     int
	MeterOverflows     uint64
	Sessions           int
	PeerLosses         uint64
	HandshakesRefused  uint64
	TelemetryDropped   uint64
	ServicesRegistered int
	SpinHits           uint64
	SpinMisses         uint64
	SpinTime           time.Duration // of the processor
}

// Metrics turns meter snapshots into Prometheus series. It has a registry of its
// own; nothing is global.
type Metrics struct {
	src      MetricsSource
	registry *prometheus.Registry
	descs    metricDescs
	direct   directDescs
	audit    auditDescs
}

// NewMetrics makes the collector and its registry, with Go's and the process's own
// series beside fire's.
func NewMetrics(src MetricsSource) *Metrics {
	if src.EdgesMax <= 0 {
		src.EdgesMax = MetricsEdgesMax
	}
	m := &Metrics{src: src, registry: prometheus.NewRegistry(), descs: newMetricDescs(), direct: newDirectDescs(), audit: newAuditDescs()}
	m.registry.MustRegister(m, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves /metrics: protobuf with native histograms to a scraper that asks for
// it, text with classic buckets to others. Scrapes beyond four at a time are refused.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return ownName(promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            scrapeLog{log},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	}))
}

// ownName refuses a request that came over loopback under a foreign name: a web page
// whose name resolves to this host would read the floor through the operator's browser
// (DNS rebinding). A scraper elsewhere may use any name.
func ownName(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if at != nil && at.IP.IsLoopback() && !loopbackName(r.Host) {
			http.Error(w, "ask by the address or as localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopbackName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

type scrapeLog struct{ log *slog.Logger }

func (l scrapeLog) Println(v ...any) { l.log.Warn("metrics scrape has errors", "err", v) }

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.descs.all() {
		ch <- d
	}
	for _, d := range m.direct.all() {
		ch <- d
	}
	for _, d := range m.audit.all() {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	edges, folded := capEdges(m.src.Edges(), m.src.EdgesMax)
	for i := range edges {
		m.descs.edge(ch, &edges[i])
	}
	m.descs.gauges(ch, m.src.Gauges(), folded)
	if m.src.Direct != nil {
		m.direct.collect(ch, m.src.Direct())
	}
	if m.src.Audit != nil {
		m.audit.collect(ch, m.src.Audit())
	}
}

// capEdges gives every key one entry and folds all edges beyond limit into one of
// meter.OverflowKey. The busiest keep their own series; ties go by name, so that the
// choice does not flicker.
func capEdges(in []meter.EdgeSnapshot, limit int) (out []meter.EdgeSnapshot, folded int) {
	at := map[meter.EdgeKey]int{}
	for _, e := range in {
		if i, twice := at[e.EdgeKey]; twice { // of a second page, or the page's own overflow
			out[i] = addEdges(out[i], e)
			continue
		}
		at[e.EdgeKey] = len(out)
		out = append(out, e)
	}
	if len(out) <= limit {
		return out, 0
	}
	slices.SortFunc(out, func(a, b meter.EdgeSnapshot) int {
		return cmp.Or(-cmp.Compare(a.Requests+a.Opened, b.Requests+b.Opened), cmp.Compare(a.Src, b.Src),
			cmp.Compare(a.Dst, b.Dst), cmp.Compare(a.Side, b.Side))
	})
	rest := meter.EdgeSnapshot{EdgeKey: meter.OverflowKey}
	for _, e := range out[limit-1:] {
		rest = addEdges(rest, e)
	}
	folded = len(out) - (limit - 1)
	out = out[:limit-1]
	if i := slices.IndexFunc(out, func(e meter.EdgeSnapshot) bool { return e.EdgeKey == meter.OverflowKey }); i >= 0 {
		out[i] = addEdges(out[i], rest)
		return out, folded
	}
	return append(out, rest), folded
}

func addEdges(a, b meter.EdgeSnapshot) meter.EdgeSnapshot {
	a.Opened += b.Opened
	a.Closed += b.Closed
	a.Refused += b.Refused
	a.Active += b.Active
	a.Requests += b.Requests
	a.Errors += b.Errors
	a.BytesOut += b.BytesOut
	a.BytesIn += b.BytesIn
	a.LastUnixNanos = max(a.LastUnixNanos, b.LastUnixNanos)
	a.Latency.Merge(b.Latency)
	a.Connect.Merge(b.Connect)
	reasons := make(map[uint16]uint64, len(a.Reasons)+len(b.Reasons))
	for _, from := range []map[uint16]uint64{a.Reasons, b.Reasons} {
		for code, n := range from {
			reasons[code] += n
		}
	}
	a.Reasons = reasons
	return a
}

// reasonLabel is the code's name; the meter's catch-all is "other".
func reasonLabel(code uint16) string {
	if code == meter.ReasonOther {
		return "other"
	}
	return reason.Code(code).String()
}
