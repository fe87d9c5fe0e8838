package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// bodyBytesMax bounds every HTTP body of the floor.
const bodyBytesMax = 1 << 20

// serveHTTP serves until ctx ends, then lets running requests finish for a second.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           http.MaxBytesHandler(h, bodyBytesMax),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := srv.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	<-done
	return err
}

// keepAlive is a client with a bounded pool of kept connections.
func keepAlive(conns int) *http.Client {
	return &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{
		MaxConnsPerHost: conns, MaxIdleConnsPerHost: conns, IdleConnTimeout: time.Minute, DisableCompression: true,
		DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
	}}
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// fault makes a program fail on demand: POST /fault?error_ratio=0.5&for=5s. The
// floor's rules allow nobody to reach it through the mesh; it is for the host.
type fault struct {
	until atomic.Int64  // Unix nanoseconds
	ratio atomic.Uint64 // of a million
	fired atomic.Uint64
}

// hit tells whether this request is to fail, and answers it then.
func (f *fault) hit(w http.ResponseWriter) bool {
	until := f.until.Load()
	if until == 0 || time.Now().UnixNano() > until || rand.Uint64N(1e6) >= f.ratio.Load() {
		return false
	}
	f.fired.Add(1)
	http.Error(w, "fault injected with /fault", http.StatusInternalServerError)
	return true
}

func (f *fault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ratio, err := strconv.ParseFloat(r.URL.Query().Get("error_ratio"), 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) {
		http.Error(w, "error_ratio must be between 0 and 1", http.StatusBadRequest)
		return
	}
	d, err := time.ParseDuration(r.URL.Query().Get("for"))
	if err != nil || d < 0 || d > time.Hour {
		http.Error(w, "for must be a duration up to 1h, as 5s", http.StatusBadRequest)
		return
	}
	f.ratio.Store(uint64(ratio * 1e6))
	f.until.Store(time.Now().Add(d).UnixNano())
	fmt.Fprintf(w, "%g of requests fail for %v\n", ratio, d)
}

func healthy(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
