package witness

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// bodyWait is how long a request's body may take, so that nobody holds a place by sending slowly.
const bodyWait = 5 * time.Second

// ServeHTTP is the submission prefix, POST /add-checkpoint, and the monitoring prefix,
// GET /HASH/checkpoint, of C2SP tlog-witness. Where both lie behind a prefix, the caller strips it.
func (w *Witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.mux.ServeHTTP(rw, r) }

func (w *Witness) serveAdd(rw http.ResponseWriter, r *http.Request) {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	default:
		write(rw, w.busy())
		return
	}
	control := http.NewResponseController(rw)
	_ = control.SetReadDeadline(time.Now().Add(bodyWait)) // a recorder in a test has none
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, RequestBytesMax))
	_ = control.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		write(rw, refusal(http.StatusRequestEntityTooLarge, "the request has more than %d bytes", RequestBytesMax))
	case err != nil:
		write(rw, refusal(http.StatusBadRequest, "the request ends early: %v", err))
	default:
		write(rw, w.add(r.Context(), r.RemoteAddr, body))
	}
}

// serveCheckpoint gives the cosigned head; nothing that is not on the disk yet.
func (w *Witness) serveCheckpoint(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	h := w.logs[r.PathValue("log")]
	var checkpoint []byte
	if h != nil {
		checkpoint = h.checkpoint
	}
	w.mu.Unlock()
	if checkpoint == nil {
		write(rw, refusal(http.StatusNotFound, "nothing was cosigned for that log"))
		return
	}
	write(rw, Answer{http.StatusOK, "text/plain; charset=utf-8", checkpoint})
}

func write(rw http.ResponseWriter, a Answer) {
	rw.Header().Set("Content-Type", a.Type)
	rw.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	if a.Status == http.StatusServiceUnavailable {
		rw.Header().Set("Retry-After", "1")
	}
	rw.WriteHeader(a.Status)
	_, _ = rw.Write(a.Body) // who asked is gone otherwise
}
