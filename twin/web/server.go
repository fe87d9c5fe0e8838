package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"fire/twin"
)

// Server serves the map of one twin.
type Server struct {
	// constant
	cfg       Config
	log       *slog.Logger
	source    Source
	publisher *publisher
	assets    map[string]asset
	epoch     string // of this process; resuming a stream across a restart means nothing

	// guarded by mu
	mu       sync.Mutex
	listener net.Listener
}

// New makes a server; Listen or Run opens its socket.
func New(cfg Config, source Source, log *slog.Logger) *Server {
	assets, err := loadAssets()
	if err != nil { // the files are in the binary
		log.Error("the page cannot be read from the program", "err", err)
	}
	var epoch [6]byte
	rand.Read(epoch[:]) // never fails (crypto/rand, Go 1.24)
	return &Server{
		cfg: cfg, log: log, source: source, assets: assets,
		publisher: newPublisher(source),
		epoch:     hex.EncodeToString(epoch[:]),
	}
}

// Listen opens the socket, so that a port in use shows before anything starts and
// the address of ":0" is known. A second call returns the same address.
func (s *Server) Listen() (net.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		l, err := net.Listen("tcp", s.cfg.Listen)
		if err != nil {
			return nil, fmt.Errorf("map at %s (web.listen): %w", s.cfg.Listen, err)
		}
		s.listener = boundListener(l, 4*s.cfg.StreamsMax+64)
	}
	return s.listener.Addr(), nil
}

// Run serves until ctx ends and returns nil then. With an empty Listen address it
// serves nothing.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Listen == "" {
		<-ctx.Done()
		return nil
	}
	addr, err := s.Listen()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      s.cfg.WriteTimeout, // a stream sets its own, per event
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends the streams
	}
	s.log.Info("map is served", "addr", addr.String())
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	workers.Go(func() { s.publisher.run(ctx) })
	failed := make(chan error, 1)
	workers.Go(func() { failed <- server.Serve(s.listener) })
	select {
	case err := <-failed:
		return fmt.Errorf("map at %s: %w", addr, err)
	case <-ctx.Done():
		return stopServer(server)
	}
}

// stopServer gives answers under way two seconds.
func stopServer(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return server.Close()
	}
	return nil
}

// Handler is the whole site behind its guard. Streams only move while Run runs.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/snapshot", s.snapshot)
	mux.HandleFunc("/api/v1/edge", s.edge)
	mux.HandleFunc("/api/v1/node", s.node)
	mux.HandleFunc("/api/v1/events", s.stream)
	mux.HandleFunc("/", s.asset)
	return s.guard(mux)
}

// snapshot is the whole state in one answer.
func (s *Server) snapshot(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, s.publisher.newest().full(s.epoch))
}

// edge is everything about one edge: both sides and the last 60 s.
func (s *Server) edge(w http.ResponseWriter, r *http.Request) {
	src, dst := r.URL.Query().Get("src"), r.URL.Query().Get("dst")
	snapshot := s.source.Snapshot()
	for i := range snapshot.Edges {
		if e := &snapshot.Edges[i]; e.Src == src && e.Dst == dst {
			writeJSON(w, encode(struct {
				Schema  string         `json:"schema"`
				At      time.Time      `json:"at"`
				Edge    *twin.EdgeView `json:"edge"`
				History []twin.Point   `json:"history"`
			}{"fire.edge/v1", snapshot.At, e, append([]twin.Point{}, e.History()...)}))
			return
		}
	}
	http.Error(w, "no such edge", http.StatusNotFound)
}

// node is everything about one node, its sessions included.
func (s *Server) node(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	snapshot := s.source.Snapshot()
	for i := range snapshot.Nodes {
		if n := &snapshot.Nodes[i]; n.Name == name {
			writeJSON(w, encode(struct {
				Schema string         `json:"schema"`
				At     time.Time      `json:"at"`
				Node   *twin.NodeView `json:"node"`
			}{"fire.node/v1", snapshot.At, n}))
			return
		}
	}
	http.Error(w, "no such node", http.StatusNotFound)
}

func writeJSON(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(b) // a reader that left needs no answer
}
