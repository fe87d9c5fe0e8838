package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"fire/policy/reason"
	"fire/transport/http1"
)

// httpWork is what one request needs beside its connection. Idle connections hold
// none.
type httpWork struct {
	res        http1.Response
	out        []byte // the request's head on its way out, with the first bytes of its body
	ans        []byte // the same of the response
	got        []byte // read from the far side and not yet used: got[used:have]
	used, have int
	exchange   httpExchange
}

const (
	httpBufBytes = 32 << 10
	httpOutBytes = 64 << 10 // a work whose out grew beyond this is not kept
)

// httpWorks and httpBufs lend buffers; they hold nothing between two requests.
var (
	httpWorks = sync.Pool{New: func() any {
		return &httpWork{out: make([]byte, 0, 4<<10), ans: make([]byte, 0, 8<<10), got: make([]byte, httpBufBytes)}
	}}
	httpBufs = sync.Pool{New: func() any { b := make([]byte, httpBufBytes); return &b }}
)

// httpExchange is one request and its response.
//
//	admit ─► prepare ─► connect, write ─► response head ─► body ─► account
//	  │         │             │                │             │
//	  └─────────┴─ refuse ────┴──── answer ────┘             └─ reset: a part must
//	                                                            not pass for the whole
type httpExchange struct {
	*httpNear
	*httpWork
	o        httpOutcome
	head     bool // HEAD: its response has no body
	far      *httpFar
	upload   *httpUpload // nil when the whole body went out with the head
	broken   bool        // the request's body cannot be stepped over
	last     bool        // there will be no further try
	closed   bool        // the answer says that the connection ends
	answered bool        // a byte of the answer may have reached the client
}

// one relays the request whose head is in req and reports whether the near
// connection may carry another.
func (c *httpNear) one(ctx context.Context) (keep bool) {
	start := time.Now()
	w := httpWorks.Get().(*httpWork)
	x := &w.exchange
	*x = httpExchange{httpNear: c, httpWork: w, head: string(c.req.Method) == "HEAD"}
	keep = x.run(ctx)
	x.o.latency = time.Since(start)
	c.gate.account(&x.o)
	*x = httpExchange{}
	if max(cap(w.out), cap(w.ans)) <= httpOutBytes && len(w.got) == httpBufBytes {
		httpWorks.Put(w)
	}
	return keep
}

func (x *httpExchange) run(ctx context.Context) (keep bool) {
	x.o.refused = true
	if x.req.WebSocket && !x.cfg.WebSocket {
		return x.fail(reason.New(reason.HTTPUpgradeRefused, "WebSocket is switched off here"))
	}
	if err := x.gate.admit(&x.req); err != nil {
		return x.fail(err)
	}
	if err := x.prepare(); err != nil {
		return x.fail(err)
	}
	var before error
	for try := 0; ; try++ {
		again, err := x.attempt(ctx, try)
		if again {
			before = err
			continue
		}
		if err != nil {
			if x.far == nil && before != nil {
				err = before // why there is no other way is less to the point than why one was looked for
			}
			return x.fail(err)
		}
		return !x.closed
	}
}

// attempt sends the request one way and relays what comes back. It asks to be called
// again only when the far side took not one byte of the request, or the other proxy
// swears that the application got none: what may have been delivered is never sent
// twice.
func (x *httpExchange) attempt(ctx context.Context, try int) (again bool, err error) {
	if x.far, err = x.gate.connect(ctx, try); err != nil {
		x.far = nil
		return false, err
	}
	_ = x.far.SetWriteDeadline(time.Now().Add(x.cfg.WriteTimeout))
	if n, err := x.far.Write(x.out); err != nil {
		err = x.far.explain(err)
		x.far.finish(httpEnd{blame: err})
		return n == 0 && try+1 < httpTriesMax, err
	}
	x.o.refused = false
	x.used, x.have = 0, 0
	x.res.Reset()
	x.gate.moved(len(x.out), 0)
	x.watch(ctx)
	x.last = try+1 == httpTriesMax || x.upload != nil
	reusable, err := x.receive()
	x.httpNear.far.Store(nil)
	uploaded := x.upload.end(x)
	if uploaded != nil && !x.answered && x.upload.nearFault {
		err, x.o.nearFault = uploaded, true // the far side only saw us give up
	}
	x.far.finish(httpEnd{reusable: reusable && err == nil && uploaded == nil, answered: x.o.status != 0, blame: x.blame(err)})
	if err == nil && uploaded != nil {
		x.closed = true
	}
	return err != nil && x.sworn(err), err
}

// sworn reports whether the other proxy, whose identity is verified, says that its
// application got nothing of the request: it ended the stream before it read any of
// it, or it could not connect.
func (x *httpExchange) sworn(err error) bool {
	if !x.own || x.last || x.answered {
		return false
	}
	_, unreached := err.(unreachedError)
	return unreached || x.have == 0 && reason.Of(err, 0) == reason.Draining
}

// unreachedError is the other proxy's answer that it could not reach the application.
type unreachedError struct{ error }

func (e unreachedError) Unwrap() error { return e.error }

// blame is what the balancer should hold against the endpoint: a break that was not
// the client's, or a refusal that another endpoint might not have made. A 5xx of the
// application itself is its answer, and may be the same everywhere.
func (x *httpExchange) blame(err error) error {
	if err != nil {
		if x.o.nearFault {
			return nil
		}
		return err
	}
	switch x.o.code.Info().Group {
	case "connect", "limits", "catalogue":
		return &reason.Error{Code: x.o.code, Detail: "said the other proxy"}
	}
	return nil
}

// watch lets a cut from outside reach the far connection, honours one that came just
// before, and starts the rest of the body on its way.
func (x *httpExchange) watch(ctx context.Context) {
	x.httpNear.far.Store(x.far)
	if ctx.Err() != nil {
		x.cut(context.Cause(ctx))
	}
	if !x.req.Body.Done() {
		x.upload = x.startUpload()
	}
}

// prepare makes the head that goes out, with as much of the body as has arrived. A
// body that is broken already is refused before anything is sent.
func (x *httpExchange) prepare() error {
	x.out = x.req.AppendRequest(x.out[:0], x.gate.added(&x.req))
	n, _, err := x.req.Body.Scan(x.in[x.r:x.w])
	if err != nil {
		x.broken = true
		return err
	}
	x.out = append(x.out, x.in[x.r:x.r+n]...)
	x.r += n
	return nil
}

// receive relays the response and reports whether the far connection may be kept.
func (x *httpExchange) receive() (reusable bool, err error) {
	if err := x.receiveHead(); err != nil {
		return false, err
	}
	if code := x.o.code; !x.last && (code == reason.AppUnreachable || code == reason.TooManyConnections) {
		return false, x.unreached(code)
	}
	if x.res.Status == 101 {
		return false, x.tunnel()
	}
	framing := x.res.Body.Framing
	if err := x.relayBody(&x.res.Body); err != nil {
		return false, err
	}
	extra := x.have > x.used // bytes behind the response: an answer that nobody asked for
	return !x.res.Close && framing != http1.UntilClose && !extra, nil
}

// unreached takes back an answer that need not be the last word.
func (x *httpExchange) unreached(code reason.Code) error {
	x.o.code, x.o.why, x.o.status = reason.OK, nil, 0
	return unreachedError{reason.New(code, "said the other proxy")}
}

// receiveHead reads heads until the final one and leaves that in ans, not yet sent:
// it goes out together with the first bytes of the body.
func (x *httpExchange) receiveHead() error {
	asked := http1.Asked{Head: x.head, WebSocket: x.req.WebSocket}
	wait := x.cfg.ResponseTimeout
	if x.own { // the other proxy waits as long and knows better why nothing comes
		wait += httpSlack
	}
	_ = x.far.SetReadDeadline(time.Now().Add(wait))
	for interim := 0; ; {
		n, err := x.res.Parse(x.got[x.used:x.have], x.cfg.MaxHeaderBytes, asked)
		if errors.Is(err, http1.ErrShort) {
			if err = x.fill(); err != nil {
				return x.far.explain(err)
			}
			continue
		}
		if err != nil {
			return badResponse(err)
		}
		x.used += n
		if !x.res.Interim() {
			x.startAnswer()
			return nil
		}
		if interim++; interim > httpInterimMax {
			return badResponse(reason.New(reason.HTTPMalformed, "more than %d interim responses", httpInterimMax))
		}
		if !x.req.HTTP10 { // RFC 9110 section 15.2: HTTP/1.0 knows none
			if err := x.writeNear(x.res.AppendResponse(x.ans[:0], http1.Receiver{Own: x.own})); err != nil {
				return err
			}
		}
		x.res.Reset()
		_ = x.far.SetReadDeadline(time.Now().Add(wait))
	}
}

// startAnswer makes the head of the answer. Whether the connection ends is decided
// here for good, since the head says so.
func (x *httpExchange) startAnswer() {
	to := http1.Receiver{HTTP10: x.req.HTTP10, Own: x.own}
	to.Close = x.req.Close || !x.upload.whole() || x.gate.draining()
	x.closed = x.res.MustClose(to)
	x.o.status = x.res.Status
	x.ans = x.res.AppendResponse(x.ans[:0], to)
	if x.own && x.res.Status >= 400 {
		if code, ok := reason.Parse(string(x.res.Get("x-fire-reason"))); ok {
			x.o.code = code
			x.o.why = &reason.Error{Code: code, Detail: "said the other proxy"}
		}
	}
}

// fill reads more of the far side into got. A head that does not fit is refused by
// Parse first, so got does not grow beyond twice the largest head.
func (x *httpExchange) fill() error {
	if x.used > 0 {
		copy(x.got, x.got[x.used:x.have])
		x.used, x.have = 0, x.have-x.used
	}
	if x.have == len(x.got) {
		x.got = append(x.got, make([]byte, len(x.got))...)
	}
	n, err := x.far.Read(x.got[x.have:])
	x.have += n
	if n > 0 {
		return nil
	}
	return err
}

// relayBody sends the head in ans and then the body. For an HTTP/1.0 client chunks
// are taken apart.
func (x *httpExchange) relayBody(body *http1.Body) error {
	decode := body.Framing == http1.Chunked && x.req.HTTP10
	for {
		bad := x.take(body, decode)
		if bad != nil && !x.answered {
			return badResponse(bad)
		}
		if err := x.writeNear(x.ans); err != nil {
			return err
		}
		x.ans = x.ans[:0]
		if bad != nil || body.Done() {
			return bad
		}
		_ = x.far.SetReadDeadline(time.Now().Add(x.cfg.BodyTimeout))
		if err := x.fill(); errors.Is(err, io.EOF) {
			if body.EOF() != nil {
				return x.far.explain(err)
			}
			return nil
		} else if err != nil {
			return x.far.explain(err)
		}
	}
}

// take appends what got holds of the body to ans.
func (w *httpWork) take(body *http1.Body, decode bool) error {
	p := w.got[w.used:w.have]
	if decode {
		data, n, _, err := body.Decode(p)
		w.used += n
		w.ans = append(w.ans, data...)
		return err
	}
	n, _, err := body.Scan(p)
	w.used += n
	w.ans = append(w.ans, p[:n]...)
	return err
}

func (x *httpExchange) writeNear(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_ = x.near.SetWriteDeadline(time.Now().Add(x.cfg.WriteTimeout))
	x.answered = true
	x.gate.giving(false, true)
	n, err := x.near.Write(p)
	x.gate.giving(false, false)
	x.gate.moved(0, n)
	if err == nil {
		return nil
	}
	x.o.nearFault = true
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return reason.New(reason.SlowReader, "the client took no byte for %v", x.cfg.WriteTimeout)
	}
	return reason.New(reason.Of(err, reason.AppReset), "the client went away: %w", err)
}

// fail ends the exchange with an error: as an answer when none is under way, else
// by a reset, so that the client cannot take a part for the whole.
func (x *httpExchange) fail(err error) (keep bool) {
	e, ok := errors.AsType[*reason.Error](err)
	if !ok {
		e = reason.New(reason.PeerClosed, "%w", err)
	}
	x.o.code, x.o.why = e.Code, e
	if x.answered {
		x.near.Cancel(e.Code)
		return false
	}
	keep = !x.req.Close && !x.req.WebSocket && x.upload == nil && !x.gate.draining() && x.skipBody()
	x.o.status = http1.Status(e.Code)
	if _, theirs := err.(responseError); theirs {
		x.o.status = 502
	}
	return x.answer(http1.Refusal{Code: e.Code, Status: x.o.status, Detail: e.Detail, Close: !keep, Head: x.head}) && keep
}

// responseError says that the destination's response broke the rules, not the
// client's request: the same codes, but a gateway error.
type responseError struct{ error }

func (e responseError) Unwrap() error { return e.error }

func badResponse(err error) error {
	return responseError{reason.New(reason.Of(err, reason.HTTPMalformed), "the response of the destination: %w", err)}
}

// skipBody steps over the request's body when all of it is in the buffer already.
func (x *httpExchange) skipBody() bool {
	if x.broken {
		return false
	}
	n, _, err := x.req.Body.Scan(x.in[x.r:x.w])
	x.r += n
	return err == nil && x.req.Body.Done()
}
