package audit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"fire/audit/tlog"
)

// The form of a segment file is in doc.go.
const (
	segmentMagic  = "fireaud\x01"
	segmentFormat = 1
	headerBytes   = 4096

	frameBytes   = 8 // before each entry and trailer
	frameEntry   = 1
	frameTrailer = 2

	trailerMagic = "\xf1re-end\n"
	trailerBytes = 40 // before its checkpoint

	originBytesMax = 255
	vkeysBytesMax  = 1024

	segmentSuffix = ".seg"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the first block of a segment. It makes a segment readable alone: which log, under
// which keys, and all of the tree before it that a proof needs.
type header struct {
	number  uint64
	created int64 // nanoseconds since 1970
	origin  string
	vkeys   string // public keys in use, one a line
	before  tlog.Frontier
}

func (h *header) first() int64 { return h.before.Size() }

func (h *header) append(b []byte) []byte {
	at := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, segmentFormat)
	b = binary.LittleEndian.AppendUint32(b, headerBytes)
	b = binary.LittleEndian.AppendUint64(b, h.number)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.created))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.first()))
	root := h.before.Root()
	b = append(b, root[:]...)
	b = appendShort(b, h.origin)
	b = appendShort(b, h.vkeys)
	b = h.before.Append(b)
	b = append(b, make([]byte, at+headerBytes-4-len(b))...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

func appendShort(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(s))), s...)
}

func takeShort(b []byte, most int) (string, []byte, bool) {
	if len(b) < 2 {
		return "", nil, false
	}
	n := int(binary.LittleEndian.Uint16(b))
	if n > most || n > len(b)-2 {
		return "", nil, false
	}
	return string(b[2 : 2+n]), b[2+n:], true
}

// parseHeader reads the first block.
func parseHeader(b []byte) (*header, error) {
	if len(b) != headerBytes || string(b[:8]) != segmentMagic {
		return nil, fmt.Errorf("it does not begin as a segment does")
	}
	if f := binary.LittleEndian.Uint32(b[8:]); f != segmentFormat {
		return nil, fmt.Errorf("it is of format %d; this version reads %d", f, segmentFormat)
	}
	if got, want := crc32.Checksum(b[:headerBytes-4], castagnoli), binary.LittleEndian.Uint32(b[headerBytes-4:]); got != want {
		return nil, fmt.Errorf("its first block has the checksum %08x, and says %08x", got, want)
	}
	h := &header{number: binary.LittleEndian.Uint64(b[16:]), created: int64(binary.LittleEndian.Uint64(b[24:]))}
	size := int64(binary.LittleEndian.Uint64(b[32:]))
	var root tlog.Hash
	copy(root[:], b[40:])
	rest, ok := b[72:headerBytes-4], false
	if h.origin, rest, ok = takeShort(rest, originBytesMax); !ok {
		return nil, fmt.Errorf("its first block has no name of a log")
	}
	if h.vkeys, rest, ok = takeShort(rest, vkeysBytesMax); !ok {
		return nil, fmt.Errorf("its first block has no keys")
	}
	n := onesCount(size) * tlog.HashBytes
	if size < 0 || n > len(rest) {
		return nil, fmt.Errorf("its first index %d is none", size)
	}
	var err error
	if h.before, err = tlog.FrontierOf(size, rest[:n]); err != nil {
		return nil, err
	}
	if got := h.before.Root(); got != root {
		return nil, fmt.Errorf("the tree before it has the root %v, and its first block says %v", got, root)
	}
	if len(bytes.Trim(rest[n:], "\x00")) > 0 || binary.LittleEndian.Uint32(b[12:]) != headerBytes {
		return nil, fmt.Errorf("its first block holds what does not belong there")
	}
	return h, nil
}

// trailer ends a group: its entries are durable, and signed.
type trailer struct {
	count      uint32
	bytes      uint32 // of the frames of its entries
	first      int64
	time       int64 // when it was signed, nanoseconds since 1970
	checkpoint []byte
}

func (t *trailer) append(b []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, frameBytes)...)
	b = append(b, trailerMagic...)
	b = binary.LittleEndian.AppendUint32(b, t.count)
	b = binary.LittleEndian.AppendUint32(b, t.bytes)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.first))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.time))
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = append(b, t.checkpoint...)
	putFrame(b[at:], frameTrailer)
	return b
}

func parseTrailer(b []byte) (trailer, error) {
	if len(b) < trailerBytes || string(b[:8]) != trailerMagic || binary.LittleEndian.Uint64(b[32:]) != 0 {
		return trailer{}, fmt.Errorf("the end of a group is not in its form")
	}
	return trailer{
		count: binary.LittleEndian.Uint32(b[8:]), bytes: binary.LittleEndian.Uint32(b[12:]),
		first: int64(binary.LittleEndian.Uint64(b[16:])), time: int64(binary.LittleEndian.Uint64(b[24:])), checkpoint: b[trailerBytes:],
	}, nil
}

// putFrame fills in the frame at the start of b, which ends with its body.
func putFrame(b []byte, kind byte) {
	b[0], b[1] = kind, 0
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)-frameBytes))
	binary.LittleEndian.PutUint32(b[4:], frameSum(b))
}

// frameSum is CRC32C over the frame without the sum itself.
func frameSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[frameBytes:])
}

// segmentName is the file of the segment that begins with an index. Names sort as they follow;
// a second one of the same index comes of a failed sync, and counts up.
func segmentName(first int64, number uint64) string {
	return fmt.Sprintf("%016d-%08d%s", first, number, segmentSuffix)
}

func parseSegmentName(name string) (first int64, number uint64, ok bool) {
	a, b, cut := strings.Cut(strings.TrimSuffix(name, segmentSuffix), "-")
	if !cut || !strings.HasSuffix(name, segmentSuffix) || len(a) != 16 || len(b) != 8 {
		return 0, 0, false
	}
	first, err1 := strconv.ParseInt(a, 10, 64)
	number, err2 := strconv.ParseUint(b, 10, 64)
	return first, number, err1 == nil && err2 == nil && first >= 0
}

func timeOf(nanos int64) time.Time { return time.Unix(0, nanos).UTC() }
