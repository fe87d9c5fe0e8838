package http1

import (
	"bytes"

	"fire/policy/reason"
)

// Request is the head of one request. Its slices alias the buffer it was parsed
// from, or the Request itself, and hold until the next Parse or Reset.
// A Request is large (some 2 KB): keep one per connection and reuse it.
type Request struct {
	Method    []byte // upper-case
	Target    []byte // as it was sent, for logs
	Path      []byte // canonical: what is matched and what is forwarded; "*" for OPTIONS *
	Query     []byte // with its "?", or empty
	Host      []byte // canonical and without port: what is matched
	Authority []byte // canonical, with its port: what is forwarded

	HTTP10    bool // the client speaks HTTP/1.0 and its connection ends after the response
	Close     bool // the connection ends after the response
	Expect100 bool // the client waits for 100 Continue before it sends the body
	WebSocket bool // the client asks to switch to WebSocket; the caller decides
	Body      Body // how the body is framed, ready to scan it

	TraceParent []byte // valid by W3C Trace Context, or empty

	fields
	scan    scanner
	host    authority
	scratch []byte // of a path that had to be respelled
}

// Reset prepares for the next request on the connection.
func (r *Request) Reset() {
	r.scan = scanner{}
	r.n = 0
	r.TraceParent = nil
}

// Parse reads the head at the start of buf and returns its length. ErrShort asks
// for more bytes; buf may move between calls. Any other error is a *reason.Error
// and the connection must be closed after the answer: nothing behind a bad head
// can be trusted to start a message.
func (r *Request) Parse(buf []byte, limitBytes int) (int, error) {
	n, err := r.scan.end(buf, limitBytes, 1)
	if err != nil {
		return 0, err
	}
	head, at := buf[:n], 0
	if head[0] == '\r' && head[1] == '\n' { // RFC 9112 section 2.2: one empty line before a request is ignored
		at = 2
	}
	line := bytes.IndexByte(head[at:], '\n') + at
	if err := r.parseLine(head[at : line-1]); err != nil {
		return 0, err
	}
	if err := r.fields.parse(head, line+1); err != nil {
		return 0, err
	}
	if err := r.parseTarget(); err != nil {
		return 0, err
	}
	return n, r.interpret()
}

// parseLine splits "METHOD SP target SP HTTP/1.x" by its exact form.
func (r *Request) parseLine(line []byte) error {
	sp := bytes.IndexByte(line, ' ')
	last := len(line) - len(" HTTP/1.1")
	if sp <= 0 || sp > methodBytesMax || last <= sp || line[last] != ' ' {
		return malformed("request line %s is not METHOD TARGET HTTP/1.1", show(line))
	}
	r.Method, r.Target = line[:sp], line[sp+1:last]
	for _, c := range r.Method {
		if (c < 'A' || c > 'Z') && c != '-' { // a lower-case "get" is GET to some servers and unknown to rules
			return malformed("method %s is not in upper case", show(r.Method))
		}
	}
	switch string(line[last+1:]) {
	case "HTTP/1.1":
		r.HTTP10 = false
	case "HTTP/1.0":
		r.HTTP10 = true
	case "HTTP/2.0":
		return reason.New(reason.HTTPUpgradeRefused, "HTTP/2 is not spoken here")
	default:
		return malformed("version %s is not HTTP/1.1", show(line[last+1:]))
	}
	if string(r.Method) == "CONNECT" {
		return reason.New(reason.HTTPUpgradeRefused, "CONNECT is refused")
	}
	if len(r.Target) > TargetBytesMax {
		return reason.New(reason.HTTPHeaderTooLarge, "the target is larger than %d bytes", TargetBytesMax)
	}
	return nil
}

// parseTarget reads the Host and the target in origin, absolute or asterisk form
// (RFC 9112 section 3.2). An absolute target must name the Host again: where the
// two differ, servers differ in whom they believe.
func (r *Request) parseTarget() error {
	value, found, err := r.only(hostField, "Host")
	if err != nil {
		return err
	}
	if !found {
		return malformed("there is no Host")
	}
	if err := r.host.parse(value); err != nil {
		return err
	}
	r.Host, r.Authority = r.host.host, r.host.text
	target := r.Target
	switch {
	case len(target) > 0 && target[0] == '/':
	case string(target) == "*" && string(r.Method) == "OPTIONS":
		r.Path, r.Query = target, nil
		return nil
	case len(target) > len("http://") && equalFold(target[:len("http://")], "http://"):
		if target, err = r.originOf(target[len("http://"):]); err != nil {
			return err
		}
	default:
		return malformed("target %s is neither a path nor an absolute http address", show(target))
	}
	path, search := target, []byte(nil)
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path, search = target[:i], target[i:]
	}
	return r.setPath(path, search)
}

// originOf compares the authority of an absolute target with the Host and returns
// the path and query.
func (r *Request) originOf(target []byte) ([]byte, error) {
	end := bytes.IndexAny(target, "/?")
	if end < 0 {
		end = len(target)
	}
	var named authority
	if err := named.parse(target[:end]); err != nil {
		return nil, err
	}
	if !bytes.Equal(named.text, r.Authority) {
		return nil, malformed("the target names host %s, the Host field %s", show(named.text), show(r.Authority))
	}
	rest := target[end:]
	if len(rest) == 0 || rest[0] == '?' {
		r.scratch = append(append(r.scratch[:0], '/'), rest...)
		rest = r.scratch
	}
	return rest, nil
}

func (r *Request) setPath(path, search []byte) error {
	if !all(search, query) {
		return reason.New(reason.HTTPPathUnclean, "the query holds a fragment, space or byte outside ASCII")
	}
	var made []byte
	if len(r.scratch) == 0 || &path[0] != &r.scratch[0] {
		made = r.scratch[:0]
	}
	canonical, code := CanonicalPath(made, path)
	if code != reason.OK {
		return reason.New(code, "path %s", show(path))
	}
	if &canonical[0] != &path[0] {
		r.scratch = canonical[:0] // keep what it grew to
	}
	r.Path, r.Query = canonical, search
	return nil
}

// interpret reads the fields that say where the message ends and what follows.
func (r *Request) interpret() error {
	closing, upgrading, err := r.options()
	if err != nil {
		return err
	}
	r.Close = closing || r.HTTP10 // RFC 9112 section 9.3: a proxy keeps no HTTP/1.0 connection
	chunked, length, err := r.framing(r.HTTP10)
	if err != nil {
		return err
	}
	switch {
	case chunked:
		r.Body = Body{Framing: Chunked, Length: -1}
	case length > 0:
		r.Body = Body{Framing: Length, Length: length, left: length}
	default:
		r.Body = Body{Framing: None, Length: length, state: bodyDone}
	}
	if err := r.expectation(); err != nil {
		return err
	}
	r.TraceParent = nil
	if v, found, err := r.only(traceParent, "traceparent"); err == nil && found && goodTraceParent(v) {
		r.TraceParent = v
	}
	return r.switching(upgrading)
}

func (r *Request) expectation() error {
	v, found, err := r.only(expect, "Expect")
	if err != nil {
		return err
	}
	if found && !equalFold(v, "100-continue") {
		return malformed("Expect %s is not 100-continue", show(v))
	}
	r.Expect100 = found && !r.HTTP10 && r.Body.Framing != None
	return nil
}

// switching decides whether Upgrade may go on to the caller. Only a clean WebSocket
// handshake does (RFC 6455 section 4.1); h2c would open a channel we cannot read.
func (r *Request) switching(upgrading bool) error {
	r.WebSocket = false
	v, found, err := r.only(upgrade, "Upgrade")
	if err != nil {
		return err
	}
	if !found || r.HTTP10 { // RFC 9110 section 7.8: ignored in HTTP/1.0
		return nil
	}
	if !upgrading || !equalFold(v, "websocket") || string(r.Method) != "GET" || r.Body.Framing != None {
		return reason.New(reason.HTTPUpgradeRefused, "Upgrade to %s is refused", show(v))
	}
	r.WebSocket = true
	return nil
}
