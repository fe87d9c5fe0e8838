package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"fire/node/admin"
	"fire/transport/meter"
)

// metricsServer serves /metrics to Prometheus.
type metricsServer struct {
	ln  net.Listener
	srv *http.Server
}

// listenMetrics binds address; nil when it is "off".
func listenMetrics(address string, hosts []*host, ledger *auditLog, release string, log *slog.Logger) (*metricsServer, error) {
	if address == "off" {
		return nil, nil
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, bindError("[admin] metrics_listen", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", admin.NewMetrics(metricsSource(hosts, ledger, release)).Handler(log))
	return &metricsServer{ln, &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}}, nil
}

func (m *metricsServer) run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- m.srv.Serve(m.ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	err := m.srv.Close()
	<-done
	return err
}

func (m *metricsServer) close() error {
	if err := m.ln.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func metricsSource(hosts []*host, ledger *auditLog, release string) admin.MetricsSource {
	return admin.MetricsSource{
		Edges: func() []meter.EdgeSnapshot {
			var out []meter.EdgeSnapshot
			for _, h := range hosts {
				if h.page != nil {
					out = append(out, h.page.Snapshot()...)
				}
			}
			return out
		},
		Gauges: func() admin.Gauges { return gauges(hosts, release) },
		Direct: directSeries(hosts),
		Audit: func() (out []admin.AuditState) {
			for _, a := range logsOf(hosts, ledger) {
				out = append(out, a.state())
			}
			return out
		},
	}
}

// directSeries is nil where no host has the role.
func directSeries(hosts []*host) func() admin.DirectSeries {
	if !slices.ContainsFunc(hosts, func(h *host) bool { return h.direct != nil }) {
		return nil
	}
	return func() (s admin.DirectSeries) {
		for _, h := range hosts {
			if h.direct != nil {
				h.direct.series(&s)
			}
		}
		return s
	}
}

func gauges(hosts []*host, release string) admin.Gauges {
	g := admin.Gauges{Release: release, Linked: len(hosts) > 0, Certificates: map[string]time.Time{}}
	for _, h := range hosts {
		st, q := h.agent.Status(), h.socket.endpoint.Stats()
		g.Node = h.self.Name
		g.Linked = g.Linked && st.Linked
		g.CatalogVersion = st.Head.Version
		g.SnapshotAge = max(g.SnapshotAge, st.Age)
		if st.ClockSkew.Abs() > g.ClockSkew.Abs() {
			g.ClockSkew = st.ClockSkew
		}
		for _, c := range st.Certificates {
			if c.Held {
				g.Certificates[c.ID] = c.NotAfter
			}
		}
		if h.page != nil {
			facts := h.page.Facts()
			g.MeterCells += facts.Cells
			g.MeterCellsUsed += facts.Used
			g.MeterOverflows += facts.Spilled
		}
		g.Sessions += int(q.Sessions)
		g.PeerLosses += q.Lost
		g.HandshakesRefused += q.Refused
		g.ServicesRegistered += len(st.Services)
		spun := h.awake.Stats()
		g.SpinHits += spun.Hits
		g.SpinMisses += spun.Misses
		g.SpinTime += spun.Spent
	}
	return g
}
