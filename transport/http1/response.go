package http1

import "bytes"

// Response is the head of one response. The rules for its slices are Request's.
type Response struct {
	Status int
	Reason []byte // may be empty
	HTTP10 bool
	Close  bool // the sender's connection ends after this response
	Body   Body // how the body is framed, ready to scan it

	fields
	scan scanner
}

// Asked is what must be known of the request to read its response.
type Asked struct {
	Head      bool // the method was HEAD: no body whatever the fields say
	WebSocket bool // a switch was asked for, so 101 is a legal answer
}

// Reset prepares for the next response on the connection.
func (r *Response) Reset() {
	r.scan = scanner{}
	r.n = 0
}

// Interim reports whether the final response is still to come (1xx but 101).
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }

// Parse reads the head at the start of buf as Request.Parse does.
func (r *Response) Parse(buf []byte, limitBytes int, asked Asked) (int, error) {
	n, err := r.scan.end(buf, limitBytes, 0)
	if err != nil {
		return 0, err
	}
	head := buf[:n]
	line := bytes.IndexByte(head, '\n')
	if err := r.parseLine(head[:line-1]); err != nil {
		return 0, err
	}
	if err := r.fields.parse(head, line+1); err != nil {
		return 0, err
	}
	return n, r.interpret(asked)
}

// parseLine splits "HTTP/1.x SP 3DIGIT [SP reason]".
func (r *Response) parseLine(line []byte) error {
	const prefix = "HTTP/1.1 200"
	if len(line) < len(prefix) || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' {
		return malformed("status line %s is not HTTP/1.1", show(line))
	}
	r.HTTP10 = line[7] == '0'
	r.Status = 0
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return malformed("status %s is no number", show(line[9:12]))
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 || r.Status > 599 {
		return malformed("status %d is outside 100 to 599", r.Status)
	}
	r.Reason = line[12:]
	if len(r.Reason) > 0 {
		if r.Reason[0] != ' ' || !all(r.Reason, value) {
			return malformed("status line %s has a bad reason phrase", show(line))
		}
		r.Reason = r.Reason[1:]
	}
	return nil
}

// interpret finds the body's framing (RFC 9112 section 6.3).
func (r *Response) interpret(asked Asked) error {
	closing, upgrading, err := r.options()
	if err != nil {
		return err
	}
	r.Close = closing || r.HTTP10
	chunked, length, err := r.framing(r.HTTP10)
	if err != nil {
		return err
	}
	if r.Status == 101 {
		v, found, err := r.only(upgrade, "Upgrade")
		if err != nil || !asked.WebSocket || !found || !upgrading || !equalFold(v, "websocket") {
			return malformed("101 without a switch that was asked for")
		}
		r.Body = Body{Framing: UntilClose, Length: -1}
		return nil
	}
	bare := r.Status < 200 || r.Status == 204
	switch {
	case bare && chunked:
		return malformed("Transfer-Encoding on a %d", r.Status)
	case bare:
		r.Body = Body{Framing: None, Length: -1, state: bodyDone}
	case asked.Head || r.Status == 304:
		r.Body = Body{Framing: None, Length: length, state: bodyDone}
	case chunked:
		r.Body = Body{Framing: Chunked, Length: -1}
	case length > 0:
		r.Body = Body{Framing: Length, Length: length, left: length}
	case length == 0:
		r.Body = Body{Framing: None, Length: 0, state: bodyDone}
	default:
		r.Body = Body{Framing: UntilClose, Length: -1}
		r.Close = true
	}
	return nil
}
