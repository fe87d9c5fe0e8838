package http1

// Framing says how the end of a body is found.
type Framing uint8

const (
	None       Framing = iota // there is no body
	Length                    // Content-Length bytes
	Chunked                   // chunks, then trailers
	UntilClose                // until the sender closes; after a 101 the tunnel's bytes
)

// Body follows the bytes of one message body. It does no I/O: the relay shows it
// what arrived, forwards what Scan vouches for and keeps the rest for the next
// message.
//
//	5 CR LF h e l l o CR LF 0 CR LF [trailers] CR LF
//	size────┘ data──┘ end─┘ size───┘           last
type Body struct {
	Framing Framing
	Length  int64 // as declared; -1 = not declared

	left    int64 // bytes of the body, or of the chunk, still to come
	state   bodyState
	digits  uint8
	trailer uint16 // bytes of trailers seen
	nameLen uint8
	name    [32]byte // start of the current trailer's name
}

type bodyState uint8

const (
	bodyData bodyState = iota // also the first state of every framing but Chunked's
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerName
	trailerValue
	trailerLF
	lastLF
	bodyDone
)

// Done reports whether the whole body has been scanned.
func (b *Body) Done() bool { return b.state == bodyDone }

// Scan returns how many bytes of p belong to this body and may be forwarded as
// they are, and whether the body ended with them. After an error nothing more of
// the message may be forwarded.
func (b *Body) Scan(p []byte) (n int, done bool, err error) {
	for n < len(p) && b.state != bodyDone {
		k, _, err := b.step(p[n:])
		if err != nil {
			return n, false, err
		}
		n += k
	}
	return n, b.state == bodyDone, nil
}

// Decode is Scan for a receiver that does not know chunks (HTTP/1.0): it moves the
// data in p together at its start and returns that part.
func (b *Body) Decode(p []byte) (data []byte, n int, done bool, err error) {
	kept := 0
	for n < len(p) && b.state != bodyDone {
		k, isData, err := b.step(p[n:])
		if err != nil {
			return p[:kept], n, false, err
		}
		if isData {
			kept += copy(p[kept:], p[n:n+k])
		}
		n += k
	}
	return p[:kept], n, b.state == bodyDone, nil
}

// EOF says whether the sender may end the stream here.
func (b *Body) EOF() error {
	if b.state == bodyDone || b.Framing == UntilClose {
		b.state = bodyDone
		return nil
	}
	return malformed("the body ended before its end")
}

// step takes at least one byte of p, all of it data or all of it framing.
func (b *Body) step(p []byte) (n int, data bool, err error) {
	switch b.Framing {
	case UntilClose:
		return len(p), true, nil
	case Length:
		n = int(min(b.left, int64(len(p))))
		if b.left -= int64(n); b.left == 0 {
			b.state = bodyDone
		}
		return n, true, nil
	}
	if b.state == chunkData {
		n = int(min(b.left, int64(len(p))))
		if b.left -= int64(n); b.left == 0 {
			b.state = chunkDataCR
		}
		return n, true, nil
	}
	return 1, false, b.frame(p[0])
}

// frame takes one byte of chunk framing. Chunk extensions are refused: nobody needs
// them, and servers differ in where they end.
func (b *Body) frame(c byte) error {
	switch b.state {
	case bodyData:
		return b.size(c)
	case chunkSizeLF:
		if c != '\n' {
			return malformed("a chunk size ends without LF")
		}
		b.digits = 0
		b.state = chunkData
		if b.left == 0 {
			b.state = trailerStart
		}
	case chunkDataCR, chunkDataLF:
		if c != "\r\n"[b.state-chunkDataCR] {
			return malformed("a chunk is longer than its size")
		}
		if b.state++; b.state > chunkDataLF {
			b.state = bodyData
		}
	default:
		return b.trail(c)
	}
	return nil
}

func (b *Body) size(c byte) error {
	if c == '\r' && b.digits > 0 {
		b.state = chunkSizeLF
		return nil
	}
	if classes[c]&hexRaw == 0 {
		return malformed("a chunk size holds %s", show([]byte{c}))
	}
	if b.digits++; b.digits > chunkDigitsMax || b.left >= 1<<58 {
		return malformed("a chunk size is too large")
	}
	b.left = b.left<<4 | int64(unhex(c))
	return nil
}

// trail takes one byte of the trailer section. Fields that frame, route or name an
// identity are not legal there (RFC 9110 section 6.5.1).
func (b *Body) trail(c byte) error {
	if b.trailer++; b.trailer > TrailerBytesMax {
		return tooLarge(TrailerBytesMax)
	}
	switch b.state {
	case trailerStart:
		if c == '\r' {
			b.state = lastLF
			return nil
		}
		b.state, b.nameLen = trailerName, 0
		return b.trailName(c)
	case trailerName:
		return b.trailName(c)
	case trailerValue:
		if c == '\r' {
			b.state = trailerLF
		} else if classes[c]&value == 0 {
			return malformed("a trailer holds a control byte")
		}
	case trailerLF, lastLF:
		if c != '\n' {
			return malformed("a trailer line ends without LF")
		}
		if b.state == lastLF {
			b.state = bodyDone
		} else {
			b.state = trailerStart
		}
	}
	return nil
}

func (b *Body) trailName(c byte) error {
	if c == ':' && b.nameLen > 0 {
		if name := b.name[:b.nameLen]; kindOf(name) != plain || equalFold(name, "trailer") || equalFold(name, "authorization") {
			return malformed("trailer %s is not allowed", show(name))
		}
		b.state = trailerValue
		return nil
	}
	if classes[c]&token == 0 {
		return malformed("a trailer's name holds a byte that no name may hold")
	}
	if int(b.nameLen) < len(b.name) { // longer names equal none that we refuse, and "x-fire" shows at the start
		b.name[b.nameLen] = c
		b.nameLen++
	}
	return nil
}
