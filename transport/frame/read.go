package frame

import (
	"errors"
	"io"

	"fire/policy/reason"
)

// emptyReadsMax ends the wait for a reader that returns neither bytes nor an error.
const emptyReadsMax = 100

// ReadOpen reads exactly one Open from r. buf is scratch memory; with a capacity of
// HeaderBytesMax nothing is allocated for it. A stream that ends before the first
// byte gives io.EOF, one that ends inside the message FrameTruncated; errors of r
// itself come back as they are.
func ReadOpen(r io.Reader, buf []byte, o *Open) error {
	msg, err := readMessage(r, buf, kindOpen, openStrings)
	if err != nil {
		return err
	}
	_, err = ParseOpen(msg, o)
	return err
}

// ReadReply reads exactly one Reply from r, like ReadOpen.
func ReadReply(r io.Reader, buf []byte, reply *Reply) error {
	msg, err := readMessage(r, buf, kindReply, replyStrings)
	if err != nil {
		return err
	}
	_, err = ParseReply(msg, reply)
	return err
}

// readMessage never asks r for more than the message: first the prefix, then what
// the checked prefix says. A stranger is refused on the bytes it did send, without
// waiting for a whole prefix.
func readMessage(r io.Reader, buf []byte, kind byte, smallest int) ([]byte, error) {
	if cap(buf) < HeaderBytesMax {
		buf = make([]byte, HeaderBytesMax)
	}
	buf = buf[:HeaderBytesMax]
	have, want, idle := 0, prefixBytes, 0
	for have < want {
		n, err := r.Read(buf[have:want])
		have += n
		if idle++; n > 0 {
			idle = 0
		} else if idle > emptyReadsMax && err == nil {
			return nil, io.ErrNoProgress
		}
		if n > 0 {
			total, perr := prefix(buf[:have], kind, smallest)
			if perr != nil && !errors.Is(perr, ErrShort) {
				return nil, perr
			}
			if perr == nil && have >= prefixBytes {
				want = total
			}
		}
		if have < want && err != nil {
			return nil, cutShort(err, have, want)
		}
	}
	return buf[:have], nil
}

func cutShort(err error, have, want int) error {
	if !errors.Is(err, io.EOF) || have == 0 {
		return err
	}
	return reason.New(reason.FrameTruncated, "stream ended after %d bytes of a header of at least %d", have, want)
}
