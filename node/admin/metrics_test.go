package admin

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"fire/policy/reason"
	"fire/transport/meter"
)

// trading is a page with one busy and one refused edge.
func trading(t *testing.T) *meter.Page {
	t.Helper()
	p, err := meter.Create("", 16)
	if err != nil {
		t.Fatal(err)
	}
	e := p.Edge(meter.EdgeKey{Src: "strategy", Dst: "gateway", Side: "out"})
	e.Opened.Add(3)
	e.Active.Add(2)
	e.Requests.Add(1000)
	e.Errors.Add(4)
	e.BytesOut.Add(5000)
	e.BytesIn.Add(7000)
	e.LastUnixNanos.Store(1_795_411_200_500_000_000)
	for i := range 1000 {
		e.Latency.Record(time.Duration(50+i%100) * time.Microsecond)
	}
	e.Latency.Record(20)
	e.Latency.Record(15 * time.Second)
	e = p.Edge(meter.EdgeKey{Src: "blotter", Dst: "engine", Side: "in"})
	e.Refused.Add(2)
	e.AddReason(uint16(reason.DeniedByDefault))
	e.AddReason(uint16(reason.DeniedByDefault))
	return p
}

func scrape(t *testing.T, m *Metrics, accept string) (map[string]*dto.MetricFamily, []byte) {
	t.Helper()
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept", accept)
	rec := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		t.Fatalf("%d: %s", rec.Code, rec.Body)
	}
	body := bytes.Clone(rec.Body.Bytes())
	families := map[string]*dto.MetricFamily{}
	dec := expfmt.NewDecoder(rec.Body, expfmt.ResponseFormat(rec.Result().Header))
	for {
		f := new(dto.MetricFamily)
		if err := dec.Decode(f); err == io.EOF {
			return families, body
		} else if err != nil {
			t.Fatal(err)
		}
		families[f.GetName()] = f
	}
}

func source(p *meter.Page) MetricsSource {
	return MetricsSource{Edges: p.Snapshot, Gauges: func() Gauges {
		return Gauges{Release: "v1", Node: "h2", Linked: true, CatalogVersion: 7, SnapshotAge: 1500 * time.Millisecond,
			Certificates: map[string]time.Time{"spiffe://eu.floor/svc/gateway": time.Unix(1_795_500_000, 0)}, MeterCells: 17, MeterCellsUsed: 3}
	}}
}

// value finds the one metric with these label values, in the family's order.
func value(t *testing.T, f *dto.MetricFamily, labels ...string) *dto.Metric {
	t.Helper()
	for _, m := range f.GetMetric() {
		var got []string
		for _, l := range m.GetLabel() {
			got = append(got, l.GetName()+"="+l.GetValue())
		}
		if strings.Join(got, ",") == strings.Join(labels, ",") {
			return m
		}
	}
	t.Fatalf("%s has no series %v", f.GetName(), labels)
	return nil
}

var busy = []string{"dst=gateway", "side=out", "src=strategy"}

func TestMetricsSayWhatTheMeterHolds(t *testing.T) {
	for name, accept := range map[string]string{
		"text":     "text/plain",
		"protobuf": string(expfmt.NewFormat(expfmt.TypeProtoDelim)),
	} {
		f, _ := scrape(t, NewMetrics(source(trading(t))), accept)
		for metric, want := range map[string]float64{"fire_edge_requests_total": 1000, "fire_edge_errors_total": 4, "fire_edge_connections_opened_total": 3,
			"fire_edge_sent_bytes_total": 5000, "fire_edge_received_bytes_total": 7000} {
			if got := value(t, f[metric], busy...).GetCounter().GetValue(); got != want {
				t.Errorf("%s: %s = %v, want %v", name, metric, got, want)
			}
		}
		denied := value(t, f["fire_edge_failures_total"], "dst=engine", "reason=denied_by_default", "side=in", "src=blotter")
		if denied.GetCounter().GetValue() != 2 {
			t.Errorf("%s: failures %v", name, denied)
		}
		for metric, want := range map[string]float64{"fire_edge_active_connections": 2, "fire_edge_last_use_timestamp_seconds": 1_795_411_200.5} {
			if got := value(t, f[metric], busy...).GetGauge().GetValue(); got != want {
				t.Errorf("%s: %s = %v, want %v", name, metric, got, want)
			}
		}
		if got := value(t, f["fire_cert_expiry_timestamp_seconds"], "id=spiffe://eu.floor/svc/gateway").GetGauge().GetValue(); got != 1_795_500_000 {
			t.Errorf("%s: certificate ends at %v", name, got)
		}
		for metric, want := range map[string]float64{"fire_node_linked": 1, "fire_catalog_version": 7, "fire_catalog_snapshot_age_seconds": 1.5} {
			if got := value(t, f[metric]).GetGauge().GetValue(); got != want {
				t.Errorf("%s: %s = %v, want %v", name, metric, got, want)
			}
		}
		checkClassic(t, value(t, f["fire_edge_latency_seconds"], busy...).GetHistogram())
	}
}

func checkClassic(t *testing.T, h *dto.Histogram) {
	t.Helper()
	if h.GetSampleCount() != 1002 || math.Abs(h.GetSampleSum()-(1000*99.5e-6+15)) > 0.01*15.1 {
		t.Errorf("count %d, sum %v", h.GetSampleCount(), h.GetSampleSum())
	}
	for _, b := range h.GetBucket() {
		want := map[float64]uint64{1e-6: 1, 25e-6: 1, 100e-6: 1 + 510, 250e-6: 1001, 10: 1001}[b.GetUpperBound()]
		if got := b.GetCumulativeCount(); want != 0 && (got+10 < want || got > want+10) {
			t.Errorf("le %v: %d, want about %d", b.GetUpperBound(), got, want)
		}
	}
	if len(h.GetBucket()) < len(classicBounds) {
		t.Errorf("%d classic buckets", len(h.GetBucket()))
	}
}

// TestNativeHistogramKeepsTheQuantiles reads the spans as Prometheus does.
func TestNativeHistogramKeepsTheQuantiles(t *testing.T) {
	f, _ := scrape(t, NewMetrics(source(trading(t))), string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	h := value(t, f["fire_edge_latency_seconds"], busy...).GetHistogram()
	if h.GetSchema() != nativeSchema || h.GetZeroCount() != 1 || h.GetZeroThreshold() != nativeZero {
		t.Fatalf("schema %d, zero %d below %v", h.GetSchema(), h.GetZeroCount(), h.GetZeroThreshold())
	}
	seen, count, at := h.GetZeroCount(), int64(0), int32(0)
	var p50, top float64
	deltas := h.GetPositiveDelta()
	for _, span := range h.GetPositiveSpan() {
		at += span.GetOffset()
		for range span.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			seen += uint64(count)
			upper := math.Exp2(float64(at) / (1 << nativeSchema))
			if count > 0 {
				top = upper
			}
			if p50 == 0 && seen >= h.GetSampleCount()/2 {
				p50 = upper
			}
			at++
		}
	}
	if seen != h.GetSampleCount() {
		t.Fatalf("buckets hold %d of %d", seen, h.GetSampleCount())
	}
	if p50 < 99e-6*0.97 || p50 > 99e-6*1.04 || top < 15 || top > 15*1.03 {
		t.Fatalf("p50 %v, greatest %v", p50, top)
	}
}

func TestTooManyEdgesAreFoldedIntoOne(t *testing.T) {
	var edges []meter.EdgeSnapshot
	for i := range 30 {
		edges = append(edges, meter.EdgeSnapshot{EdgeKey: meter.EdgeKey{Src: fmt.Sprintf("s%02d", i), Dst: "d", Side: "out"},
			Requests: uint64(1000 - i), Reasons: map[uint16]uint64{100: 1, meter.ReasonOther: 2}})
	}
	edges = append(edges, edges[0]) // the same edge of a second page
	src := MetricsSource{Edges: func() []meter.EdgeSnapshot { return edges }, Gauges: func() Gauges { return Gauges{} }, EdgesMax: 10}
	f, _ := scrape(t, NewMetrics(src), "text/plain")
	requests := f["fire_edge_requests_total"]
	total := 0.0
	for _, m := range requests.GetMetric() {
		total += m.GetCounter().GetValue()
	}
	if len(requests.GetMetric()) != 10 || total != 30*1000-29*30/2+1000 {
		t.Fatalf("%d series, %v requests", len(requests.GetMetric()), total)
	}
	if value(t, requests, "dst=d", "side=out", "src=s00").GetCounter().GetValue() != 2000 {
		t.Fatal("two pages of one edge are not added")
	}
	if value(t, f["fire_metrics_edges_folded"]).GetGauge().GetValue() != 21 {
		t.Fatal("the folded edges are not told")
	}
	other := value(t, f["fire_edge_failures_total"], "dst=overflow", "reason=other", "side=overflow", "src=overflow")
	if other.GetCounter().GetValue() != 42 || edges[0].Requests != 1000 {
		t.Fatalf("reasons folded to %v", other)
	}
}

func TestLabelsAreAClosedSet(t *testing.T) {
	f, _ := scrape(t, NewMetrics(source(trading(t))), "text/plain")
	for name, family := range f {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				ok := strings.Contains(" src dst side reason ", " "+l.GetName()+" ")
				if strings.HasPrefix(name, "fire_edge_") && !ok {
					t.Errorf("%s has label %s", name, l.GetName())
				}
				if !model.LegacyValidation.IsValidLabelName(l.GetName()) {
					t.Errorf("%s: label %q", name, l.GetName())
				}
			}
		}
	}
}

func TestPromtoolFindsNothingToMend(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is absent (Debian package prometheus)")
	}
	_, text := scrape(t, NewMetrics(source(trading(t))), "text/plain")
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestWebPageCannotReadMetricsUnderAnotherName(t *testing.T) {
	m := NewMetrics(MetricsSource{Edges: func() []meter.EdgeSnapshot { return nil }, Gauges: func() Gauges { return Gauges{} }})
	s := httptest.NewServer(m.Handler(slog.New(slog.DiscardHandler)))
	defer s.Close()
	for host, want := range map[string]int{"": 200, "localhost:7481": 200, "127.0.0.1": 200, "[::1]:7481": 200,
		"evil.example": 421, "evil.example:7481": 421, "localhost.evil.example": 421, "10.0.0.1": 421} {
		q, err := http.NewRequest("GET", s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Host = host
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("host %q: %d, want %d", host, r.StatusCode, want)
		}
	}
}
