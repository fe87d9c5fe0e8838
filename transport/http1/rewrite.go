package http1

import "strconv"

// Added is what the proxy puts into a request it forwards. Whatever a client sent
// under these names has been dropped before.
type Added struct {
	TraceParent []byte // used when the request carries no valid one; empty = none
	Source      string // x-fire-source: the verified identity of the caller; empty = none
	Close       bool   // ask the receiver to close after the response
}

// AppendRequest appends the head in its one canonical form: origin-form target
// with the canonical path, Host first, the end-to-end fields in their order, then
// framing and ours.
func (r *Request) AppendRequest(dst []byte, add Added) []byte {
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = append(dst, r.Path...)
	dst = append(dst, r.Query...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, r.Authority...)
	dst = append(dst, "\r\n"...)
	dst = r.appendPlain(dst, passed{trace: len(r.TraceParent) > 0})
	dst = r.Body.appendFraming(dst)
	if r.Expect100 {
		dst = append(dst, "Expect: 100-continue\r\n"...)
	}
	switch {
	case r.WebSocket:
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case add.Close:
		dst = append(dst, "Connection: close\r\n"...)
	}
	if len(r.TraceParent) > 0 {
		dst = appendField(dst, "traceparent", r.TraceParent)
	} else if len(add.TraceParent) > 0 {
		dst = appendField(dst, "traceparent", add.TraceParent)
	}
	if add.Source != "" {
		dst = append(dst, "x-fire-source: "...)
		dst = append(dst, add.Source...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// Receiver is what the receiver of a response can do.
type Receiver struct {
	HTTP10 bool // it knows no chunks: the relay must use Body.Decode and close
	Close  bool // the connection ends after this response
	Own    bool // the sender is a verified fire proxy: its x-fire fields go on
}

// AppendResponse appends the head in its one canonical form. A body that ends with
// the connection, or chunks for an HTTP/1.0 receiver, must be followed by a close;
// MustClose tells.
func (r *Response) AppendResponse(dst []byte, to Receiver) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, r.Reason...)
	dst = append(dst, "\r\n"...)
	dst = r.appendPlain(dst, passed{trace: true, own: to.Own})
	if !(r.Body.Framing == Chunked && to.HTTP10) {
		dst = r.Body.appendFraming(dst)
	}
	switch {
	case r.Status == 101:
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case !r.Interim() && r.MustClose(to):
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// MustClose reports whether the receiver's connection ends with this response.
func (r *Response) MustClose(to Receiver) bool {
	return to.Close || to.HTTP10 || r.Body.Framing == UntilClose
}

// passed says which fields go on beside the plain ones.
type passed struct{ trace, own bool }

// appendPlain appends the fields that go from end to end.
func (f *fields) appendPlain(dst []byte, also passed) []byte {
	for i := range f.n {
		if k := f.list[i].kind; k == plain || k == traceState && also.trace || k == own && also.own {
			dst = append(dst, f.name(i)...)
			dst = append(dst, ": "...)
			dst = append(dst, f.value(i)...)
			dst = append(dst, "\r\n"...)
		}
	}
	return dst
}

// appendFraming states the body's end once. A declared length of a body that does
// not come (HEAD, 304) is kept: it is information.
func (b *Body) appendFraming(dst []byte) []byte {
	if b.Framing == Chunked {
		return append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if b.Length < 0 {
		return dst
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, b.Length, 10)
	return append(dst, "\r\n"...)
}

func appendField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}
