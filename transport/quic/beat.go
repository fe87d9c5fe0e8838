package quic

import (
	"encoding/binary"
	"io"
	"time"

	"fire/policy/reason"
	"fire/transport"
)

// beatBytes is the size of every message of the heart.
const beatBytes = 16

const beatVersion = 2

const (
	beatHello   = 1 // dialler: class, interval
	beatWelcome = 2 // the answer: the certificate was accepted
	beatPing    = 3 // dialler: sequence
	beatPong    = 4 // the same sequence
)

const (
	heartbeatMin = 5 * time.Millisecond
	heartbeatMax = time.Minute
)

// beat is one message; doc.go draws it.
type beat struct {
	kind  byte
	class transport.Class
	value uint64
}

func appendBeat(b []byte, m beat) []byte {
	b = append(b, 'F', 'B', beatVersion, m.kind, byte(m.class), 0, 0, 0)
	return binary.LittleEndian.AppendUint64(b, m.value)
}

// parseBeat reads one whole message. Reserved bytes are ignored, for a newer minor.
func parseBeat(b *[beatBytes]byte) (beat, error) {
	switch {
	case b[0] != 'F' || b[1] != 'B':
		return beat{}, reason.New(reason.FrameMalformed, "heartbeat starts with % x", b[:2])
	case b[2] != beatVersion:
		return beat{}, reason.New(reason.FrameVersion, "peer speaks heartbeat version %d, this fire speaks %d", b[2], beatVersion)
	case b[3] < beatHello || b[3] > beatPong:
		return beat{}, reason.New(reason.FrameMalformed, "heartbeat kind %d", b[3])
	}
	return beat{kind: b[3], class: transport.Class(b[4]), value: binary.LittleEndian.Uint64(b[8:])}, nil
}

func readBeat(r io.Reader) (beat, error) {
	var b [beatBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return beat{}, err
	}
	return parseBeat(&b)
}
