package proxy

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"fire/policy/reason"
)

// httpUpload sends the part of a request's body that did not come with the head,
// while the response may already be on its way. A nil upload is a whole one.
type httpUpload struct {
	finished atomic.Bool // the last byte has been read from the client
	stop     atomic.Bool // the response is over: nobody wants the rest
	done     chan struct{}

	// valid after done
	err       error
	nearFault bool   // the client broke it, not the destination
	leftover  []byte // of the next request
}

func (x *httpExchange) startUpload() *httpUpload {
	u := &httpUpload{done: make(chan struct{})}
	go func() {
		defer close(u.done)
		u.err = u.run(x)
		if u.nearFault {
			x.far.Cancel(reason.Of(u.err, reason.AppReset)) // a part must not pass for the whole
		}
	}()
	return u
}

func (u *httpUpload) run(x *httpExchange) error {
	lent := httpBufs.Get().(*[]byte)
	defer httpBufs.Put(lent)
	buf := *lent
	for {
		_ = x.near.SetReadDeadline(time.Now().Add(x.cfg.BodyTimeout))
		if u.stop.Load() {
			return errUploadStopped
		}
		n, err := x.near.Read(buf)
		k, done, bad := x.req.Body.Scan(buf[:n])
		u.finished.Store(done) // before the write: the answer to it must find it set
		if err := u.forward(x, buf[:k]); err != nil {
			return err
		}
		switch {
		case done:
			u.leftover = append(u.leftover, buf[k:n]...)
			return nil
		case bad == nil && err == nil:
			continue
		case u.stop.Load():
			return errUploadStopped
		}
		u.nearFault = true
		switch {
		case bad != nil:
			return bad
		case errors.Is(err, io.EOF):
			return reason.New(reason.HTTPMalformed, "the request ends in its body")
		case errors.Is(err, os.ErrDeadlineExceeded):
			return reason.New(reason.IdleTimeout, "no byte of the body within %v", x.cfg.BodyTimeout)
		}
		return reason.New(reason.Of(err, reason.AppReset), "the client went away: %w", err)
	}
}

var errUploadStopped = errors.New("the response came before the end of the request")

// forward writes p. An error does not end the exchange: the response may tell more
// than the broken connection does.
func (u *httpUpload) forward(x *httpExchange, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_ = x.far.SetWriteDeadline(time.Now().Add(x.cfg.WriteTimeout))
	if u.stop.Load() {
		return errUploadStopped
	}
	x.gate.giving(true, true)
	_, err := x.far.Write(p)
	x.gate.giving(true, false)
	if err != nil {
		return x.far.explain(err)
	}
	x.gate.moved(len(p), 0)
	return nil
}

// whole reports whether the client has sent the whole request.
func (u *httpUpload) whole() bool { return u == nil || u.finished.Load() }

// end waits for the upload, and breaks it off when the client is still sending to
// nobody. What belongs to the next request goes back to the connection.
func (u *httpUpload) end(x *httpExchange) error {
	if u == nil {
		return nil
	}
	if !u.finished.Load() {
		past := time.Unix(1, 0)
		u.stop.Store(true) // before the deadlines: the upload looks here after setting its own
		_ = x.near.SetReadDeadline(past)
		_ = x.far.SetWriteDeadline(past)
	}
	<-u.done
	if len(u.leftover) > 0 {
		x.in = append(x.in[:x.w], u.leftover...)
		x.w = len(x.in)
	}
	return u.err
}
