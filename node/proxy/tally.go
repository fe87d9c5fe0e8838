package proxy

import (
	"bytes"
	"encoding/binary"

	"fire/node/catalog"
)

// tally counts the messages of a declared protocol in one direction as they pass. It
// holds back nothing and changes nothing: it reads where a message ends and skips to
// there, about 20 ns a message. Bytes that are no such protocol stop the count, not
// the flow.
type tally struct {
	head  func(b []byte) (bytes int) // length of the whole message, 0 for "need more", below 0 for "is none"
	least int                        // bytes that head wants at least
	skip  int                        // bytes of the current message still to come
	have  int                        // bytes of a torn head in keep
	keep  [headBytesMax]byte
}

// headBytesMax holds the longest start of a message that tells its length: FIX's
// BeginString ("8=FIXT.1.1") and a BodyLength of seven digits.
const headBytesMax = 24

// tallyOf counts for a protocol; a protocol without messages has a tally that is off.
func tallyOf(protocol string) tally {
	switch catalog.Transport(protocol) {
	case catalog.FIX:
		return tally{head: fixBytes, least: len("8=FIX.4.4|9=5|")}
	case catalog.SoupBin:
		return tally{head: soupBytes, least: 2}
	}
	return tally{}
}

func (t *tally) on() bool { return t.head != nil }

// count takes the next bytes and tells how many messages begin in them.
func (t *tally) count(b []byte) (messages uint64) {
	for t.on() {
		if t.skip >= len(b) {
			t.skip -= len(b)
			return messages
		}
		b = b[t.skip:]
		t.skip = 0
		whole, from := t.start(b)
		switch {
		case whole == 0: // torn
			return messages
		case whole < 0:
			t.head = nil
			return messages
		}
		messages++
		t.skip = whole - from // from counts the bytes of it that went before b
	}
	return messages
}

// start reads the head of the message at b, of which t.have bytes may have come
// before. A head that is not whole within headBytesMax is none.
func (t *tally) start(b []byte) (whole, before int) {
	head := b
	if t.have > 0 || len(b) < headBytesMax {
		before = t.have
		t.have += copy(t.keep[t.have:], b)
		head = t.keep[:t.have]
	}
	if len(head) < t.least {
		return 0, 0
	}
	head = head[:min(len(head), headBytesMax)]
	switch whole = t.head(head); {
	case whole != 0:
		t.have = 0
	case len(head) == headBytesMax:
		return -1, 0
	}
	return whole, before
}

// fixBytes: BeginString, BodyLength, that many bytes, and "10=nnn" with its SOH (FIX
// session layer, section 4.2).
func fixBytes(b []byte) int {
	const trailer = 7
	if !bytes.HasPrefix(b, []byte("8=FIX")) {
		return -1
	}
	at := bytes.IndexByte(b, 1)
	if at < 0 || len(b) < at+3 {
		return 0
	}
	if b[at+1] != '9' || b[at+2] != '=' {
		return -1
	}
	n := 0
	for i := at + 3; i < len(b); i++ {
		switch c := b[i]; {
		case c == 1 && i > at+3:
			return i + 1 + n + trailer
		case c < '0' || c > '9' || n > 1<<20:
			return -1
		default:
			n = n*10 + int(c-'0')
		}
	}
	return 0
}

// soupBytes: a big-endian length of what follows it (SoupBinTCP 3.00, section 2).
func soupBytes(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	n := int(binary.BigEndian.Uint16(b))
	if n == 0 {
		return -1
	}
	return 2 + n
}
