package frame

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"fire/policy/reason"
)

// Version is the one this package writes and reads.
const Version = 1

// HeaderBytesMax bounds a whole message.
const HeaderBytesMax = 1024

// ErrShort says that the buffer ends before the message does.
var ErrShort = errors.New("frame: more bytes needed")

const (
	magic       = "FIRE"
	prefixBytes = 12

	kindOpen  = 1
	kindReply = 2

	offVersion = 4
	offKind    = 5
	offTotal   = 6
	offCRC     = 8
)

// castagnoli never changes after its construction; MakeTable returns the shared,
// hardware-backed table.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:offCRC], castagnoli), castagnoli, b[prefixBytes:])
}

// appendPrefix starts a message of total bytes.
func appendPrefix(b []byte, kind byte, total int) []byte {
	b = append(b, magic...)
	b = append(b, Version, kind)
	b = binary.LittleEndian.AppendUint16(b, uint16(total))
	return append(b, 0, 0, 0, 0)
}

// seal writes the checksum into a finished message.
func seal(msg []byte) {
	binary.LittleEndian.PutUint32(msg[offCRC:], checksum(msg))
}

// prefix checks as much of the prefix as is there and returns the message's length,
// or ErrShort while the prefix is not complete.
func prefix(b []byte, kind byte, smallest int) (total int, err error) {
	for i := range min(len(b), len(magic)) {
		if b[i] != magic[i] {
			return 0, reason.New(reason.FrameMalformed, "stream starts with % x, a fire header starts with \"FIRE\"", b[:min(len(b), 8)])
		}
	}
	if len(b) > offVersion && b[offVersion] != Version {
		return 0, reason.New(reason.FrameVersion, "peer speaks frame version %d, this fire speaks %d", b[offVersion], Version)
	}
	if len(b) > offKind && b[offKind] != kind {
		return 0, reason.New(reason.FrameMalformed, "message kind %d, want %d", b[offKind], kind)
	}
	if len(b) < offCRC {
		return 0, ErrShort
	}
	total = int(binary.LittleEndian.Uint16(b[offTotal:]))
	if total > HeaderBytesMax {
		return 0, reason.New(reason.FrameOversized, "header of %d bytes, the limit is %d", total, HeaderBytesMax)
	}
	if total < smallest {
		return 0, reason.New(reason.FrameMalformed, "header of %d bytes, the least is %d", total, smallest)
	}
	return total, nil
}

// whole returns the checked message at the start of b.
func whole(b []byte, kind byte, smallest int) ([]byte, error) {
	total, err := prefix(b, kind, smallest)
	if err != nil {
		return nil, err
	}
	if len(b) < total {
		return nil, ErrShort
	}
	b = b[:total]
	if got, want := checksum(b), binary.LittleEndian.Uint32(b[offCRC:]); got != want {
		return nil, reason.New(reason.FrameMalformed, "checksum %08x, the header says %08x", got, want)
	}
	return b, nil
}

// keep returns old when it already says what b says, so that a reused target
// allocates nothing for a value that did not change.
func keep(old string, b []byte) string {
	if old == string(b) { // compared without a conversion
		return old
	}
	return string(b)
}

// printable tells whether b is ASCII without blanks and controls.
func printable[T []byte | string](b T) bool {
	for i := range len(b) {
		if b[i] <= 0x20 || b[i] > 0x7e {
			return false
		}
	}
	return true
}
