package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"fire/policy/reason"
	"fire/transport"
	"fire/transport/http1"
	"fire/transport/meter"
)

// httpGate is what one side of the relay needs of the proxy around it: the client's
// side leads to an endpoint of the mesh, the server's side to the local application.
type httpGate interface {
	// admit decides one request by the policy that is in force now.
	admit(r *http1.Request) error
	// connect returns a way to the destination that has carried nothing of this
	// request. try counts from 0; later tries must not use a kept connection.
	connect(ctx context.Context, try int) (*httpFar, error)
	// added is what goes into the forwarded head.
	added(r *http1.Request) http1.Added
	// moved is told of bytes sent on, and that the connection is alive.
	moved(up, down int)
	// giving is told when a write in one direction begins, and when it has ended.
	giving(up, begins bool)
	// account is told how each request ended.
	account(o *httpOutcome)
	// draining tells that each connection should end with its current request.
	draining() bool
}

// httpOutcome is how one request ended.
type httpOutcome struct {
	status    int         // of the final response; 0 = none was sent
	code      reason.Code // why it failed; OK when the application answered
	refused   bool        // nothing was sent on: policy, framing, or no way to the destination
	nearFault bool        // the client ended it, not the destination
	why       *reason.Error
	latency   time.Duration
}

// count adds a request to its edge. A request that the destination broke, or
// answered with 5xx, is an error of the edge; one that its client broke is not, and one
// that was cut is counted with its connection.
func (o *httpOutcome) count(e *meter.Edge, cut bool) {
	e.Requests.Add(1)
	e.LastUnixNanos.Store(time.Now().UnixNano())
	group := o.code.Info().Group
	switch {
	case cut:
		return
	case o.refused && (group == "policy" || group == "http"):
		e.Refused.Add(1)
	case o.status >= 500, o.code != reason.OK && !o.nearFault && group != "policy" && group != "http":
		e.Errors.Add(1)
	}
	switch {
	case o.code != reason.OK:
		e.AddReason(uint16(o.code))
	case o.status >= 500:
		e.AddReason(uint16(reason.AppError))
	}
	if !o.refused {
		e.Latency.Record(o.latency)
	}
}

// httpSide is one side of the HTTP relay for one service.
type httpSide struct {
	cfg  HTTPConfig
	gate httpGate
	own  bool // the far end is a fire proxy, the near end an application; else the other way round
}

// httpNear serves the requests of one near connection, one after the other.
type httpNear struct {
	*httpSide
	near transport.Stream
	in   []byte // read and not yet used: in[r:w]
	r, w int
	req  http1.Request
	far  atomic.Pointer[httpFar] // of the request under way, for a cut from outside
	mood atomic.Int32
}

// The moods of a near connection. Only between two requests may it be asked to leave.
const (
	httpBusy int32 = iota
	httpIdle
	httpLeaving
)

const (
	httpInBytes     = 4 << 10 // kept by an idle connection
	httpTriesMax    = 3
	httpInterimMax  = 16 // 1xx responses before the final one
	httpLingerBytes = 256 << 10
	httpLinger      = time.Second
	httpSlack       = time.Second
	httpSettle      = 100 * time.Millisecond
)

// near makes the relay of one near connection.
func (s *httpSide) near(conn transport.Stream) *httpNear {
	return &httpNear{httpSide: s, near: conn, in: make([]byte, httpInBytes)}
}

// serve relays until the near connection ends. A socket is then the caller's to close.
func (c *httpNear) serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { c.cut(context.Cause(ctx)) })
	defer stop()
	for first := true; ; first = false {
		if err := c.readHead(first); err != nil {
			c.refuseHead(err)
			break
		}
		if !c.one(ctx) {
			break
		}
	}
	c.part()
}

// leave ends the connection if it waits for a request. A busy one ends after its
// request, since its gate is draining.
func (c *httpNear) leave() {
	if c.mood.CompareAndSwap(httpIdle, httpLeaving) {
		_ = c.near.SetReadDeadline(time.Unix(1, 0))
	}
}

// cut ends both directions at once, whatever is under way.
func (c *httpNear) cut(why error) {
	code := reason.Of(why, reason.Shutdown)
	c.near.Cancel(code)
	if far := c.far.Load(); far != nil {
		far.Cancel(code)
	}
}

// readHead fills req. errGone means that there is nobody to be answered.
func (c *httpNear) readHead(first bool) error {
	c.req.Reset()
	c.compact()
	begun := c.w > 0
	timed := begun
	wait := c.cfg.KeepAliveTimeout
	if begun || first && c.own { // a kept mesh stream may wait from its beginning
		wait = c.cfg.HeaderTimeout
	}
	_ = c.near.SetReadDeadline(time.Now().Add(wait))
	if !begun {
		c.mood.Store(httpIdle)
		if c.gate.draining() { // looked at after the mood is set: leave saw one or the other
			return c.idleEnd()
		}
	}
	for {
		n, err := c.req.Parse(c.in[:c.w], c.cfg.MaxHeaderBytes)
		if err == nil {
			c.r = n
			return nil
		}
		if !errors.Is(err, http1.ErrShort) {
			return err
		}
		if begun && !timed { // a slow head ends by the clock, not by the byte
			timed = true
			_ = c.near.SetReadDeadline(time.Now().Add(c.cfg.HeaderTimeout))
		}
		if c.w == len(c.in) {
			c.in = append(c.in, make([]byte, len(c.in))...)
		}
		n, err = c.near.Read(c.in[c.w:])
		c.w += n
		if n > 0 && !begun {
			begun = true
			c.mood.Store(httpBusy)
		}
		if n == 0 && err != nil {
			return c.headEnd(err, begun, first)
		}
	}
}

var errGone = errors.New("nobody is there to be answered")

// headEnd says what the end of reading means for the head that was due.
func (c *httpNear) headEnd(err error, begun, first bool) error {
	late := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case late && (begun || first && c.own) && c.mood.Load() != httpLeaving:
		return reason.New(reason.HeaderTimeout, "no whole request within %v", c.cfg.HeaderTimeout)
	case late:
		return c.idleEnd()
	case errors.Is(err, io.EOF) && begun:
		return reason.New(reason.HTTPMalformed, "the request ends in its head")
	}
	return errGone
}

// idleEnd ends a connection between two requests. Another proxy is told by a reset
// with Draining, which is an oath: no byte of a further request was taken, so that it
// may send it another way.
func (c *httpNear) idleEnd() error {
	if !c.own {
		c.near.Cancel(reason.Draining)
	}
	return errGone
}

// compact moves what is left of the last read to the front and gives back a buffer
// that a large head or body had grown.
func (c *httpNear) compact() {
	left := c.w - c.r
	if len(c.in) > httpInBytes && left <= httpInBytes {
		small := make([]byte, httpInBytes)
		copy(small, c.in[c.r:c.w])
		c.in = small
	} else if c.r > 0 {
		copy(c.in, c.in[c.r:c.w])
	}
	c.r, c.w = 0, left
}

// refuseHead answers a head that cannot be used and ends the connection: nothing
// behind it can be trusted to start a message.
func (c *httpNear) refuseHead(err error) {
	if e, ok := errors.AsType[*reason.Error](err); ok { // else the client went away
		c.gate.account(&httpOutcome{status: http1.Status(e.Code), code: e.Code, why: e, refused: true})
		c.answer(http1.Refusal{Code: e.Code, Detail: e.Detail, Close: true})
	}
}

// answer sends a refusal of our own.
func (c *httpNear) answer(r http1.Refusal) bool {
	_ = c.near.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout))
	_, err := c.near.Write(http1.AppendRefusal(nil, r))
	return err == nil
}

// part ends the connection in good order: our half first, then the rest of what the
// client sends is read away for a while. Closing a socket with unread bytes resets it,
// and the reset may overtake the last answer (RFC 9112 section 9.6); cancelling a
// stream does the same.
func (c *httpNear) part() {
	if c.near.CloseWrite() == nil {
		_ = c.near.SetReadDeadline(time.Now().Add(httpLinger))
		for left := httpLingerBytes; left > 0; {
			n, err := c.near.Read(c.in)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				break
			}
			left -= n
		}
	}
	c.near.Cancel(reason.OK)
}
