package frame

import (
	"bytes"
	"errors"
	"testing"

	"fire/policy/reason"
)

// FuzzParseOpen also reseals the input, so that mutations pass the checksum.
func FuzzParseOpen(f *testing.F) {
	f.Add(mustOpen(f, sampleOpen()))
	f.Add(mustOpen(f, Open{Service: "a"}))
	f.Add([]byte("FIRE"))
	f.Fuzz(func(t *testing.T, b []byte) {
		openHolds(t, b)
		if len(b) >= prefixBytes && len(b) <= HeaderBytesMax {
			b = bytes.Clone(b)
			copy(b, magic)
			b[offVersion], b[offKind] = Version, kindOpen
			openHolds(t, reseal(b))
		}
	})
}

func openHolds(t *testing.T, b []byte) {
	var o Open
	n, err := ParseOpen(b, &o)
	if !legal(err) || n < 0 || n > len(b) || n > HeaderBytesMax {
		t.Fatalf("%d, %v", n, err)
	}
	if err != nil {
		return
	}
	again, err := AppendOpen(nil, &o)
	var back Open
	if _, perr := ParseOpen(again, &back); err != nil || perr != nil || back != o {
		t.Fatalf("%+v does not come back: %v %v", o, err, perr)
	}
	src := bytes.NewReader(b)
	if err := ReadOpen(src, nil, &back); err != nil || src.Len() != len(b)-n {
		t.Fatalf("reading what parses: %v, %d left of %d", err, src.Len(), len(b)-n)
	}
	for cut := range n {
		if _, err := ParseOpen(b[:cut], &back); !errors.Is(err, ErrShort) {
			t.Fatalf("%d of %d bytes: %v", cut, n, err)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add(mustReply(f, Reply{}))
	f.Add(mustReply(f, Reply{Code: reason.AllEjected, Detail: "größe"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		replyHolds(t, b)
		if len(b) >= prefixBytes && len(b) <= HeaderBytesMax {
			b = bytes.Clone(b)
			copy(b, magic)
			b[offVersion], b[offKind] = Version, kindReply
			replyHolds(t, reseal(b))
		}
	})
}

func replyHolds(t *testing.T, b []byte) {
	var r, back Reply
	n, err := ParseReply(b, &r)
	if !legal(err) || n < 0 || n > len(b) {
		t.Fatalf("%d, %v", n, err)
	}
	if err != nil {
		return
	}
	again, err := AppendReply(nil, &r)
	if _, perr := ParseReply(again, &back); err != nil || perr != nil || back != r {
		t.Fatalf("%+v does not come back: %v %v", r, err, perr)
	}
}

// legal errors are nil, ErrShort and frame reasons.
func legal(err error) bool {
	if err == nil || errors.Is(err, ErrShort) {
		return true
	}
	switch reason.Of(err, reason.OK) {
	case reason.FrameVersion, reason.FrameOversized, reason.FrameMalformed:
		return true
	}
	return false
}
