package web

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// keepAlive is how long a stream is silent at most, so that a client can tell a
// quiet floor from a dead server.
const keepAlive = time.Second

// stream serves /api/v1/events. Each event's id is "epoch-version"; a client that
// comes back with one of the last framesKept gets a delta, any other the whole
// state. A client that reads slowly is coalesced: the next event is the difference
// from what it was last sent to what is true now.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	changed, stop := s.publisher.follow(s.cfg.StreamsMax)
	if changed == nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many browsers follow this map (web.streams_max)", http.StatusServiceUnavailable)
		return
	}
	defer stop()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return
	}
	out := &eventWriter{w: w, control: http.NewResponseController(w), timeout: s.cfg.WriteTimeout}
	if err := out.control.SetReadDeadline(time.Time{}); err != nil { // the server's is for requests that end
		s.log.Debug("stream has no deadlines", "err", err)
	}
	base := s.resumed(r.Header.Get("Last-Event-ID"))
	beat := time.NewTimer(keepAlive)
	defer beat.Stop()
	for {
		next := s.publisher.newest()
		var err error
		switch {
		case base == nil:
			err = out.event("snapshot", s.eventID(next), next.full(s.epoch))
		case next != base:
			err = out.event("delta", s.eventID(next), next.since(base, s.epoch))
		default:
			err = out.comment()
		}
		if err != nil {
			return // the browser is gone, or took nothing for WriteTimeout
		}
		base = next
		beat.Reset(keepAlive)
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-beat.C:
		}
	}
}

func (s *Server) eventID(f *frame) string {
	return s.epoch + "-" + strconv.FormatUint(f.version, 10)
}

// resumed is the frame that a Last-Event-ID names, or nil.
func (s *Server) resumed(id string) *frame {
	epoch, version, ok := strings.Cut(id, "-")
	if !ok || epoch != s.epoch {
		return nil
	}
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return nil
	}
	return s.publisher.find(n)
}

// eventWriter writes server-sent events. The data is one line of JSON, which has
// no raw line breaks.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

func (e *eventWriter) event(name, id string, data []byte) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(e.timeout)); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if _, err := fmt.Fprintf(e.w, "id: %s\nevent: %s\ndata: %s\n\n", id, name, data); err != nil {
		return err
	}
	return e.control.Flush()
}

func (e *eventWriter) comment() error {
	if err := e.control.SetWriteDeadline(time.Now().Add(e.timeout)); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if _, err := fmt.Fprint(e.w, ": still here\n\n"); err != nil {
		return err
	}
	return e.control.Flush()
}
