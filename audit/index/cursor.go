package index

import (
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/cespare/xxhash/v2"
)

// A cursor is where each log's walk goes on, and the window, since "10m ago" has moved by then:
//
//	version u8 | query u64 | from i64 | to i64 | of each log: hash of origin u64, place uvarint
const cursorVersion = 1

var errCursor = errors.New("audit query: the cursor is not of this query: ask again without it")

type place struct {
	origin uint64
	at     int64
}

func originHash(origin string) uint64 { return xxhash.Sum64String(origin) }

func formatCursor(query uint64, from, to int64, places []place) string {
	b := binary.LittleEndian.AppendUint64([]byte{cursorVersion}, query)
	b = binary.LittleEndian.AppendUint64(b, uint64(from))
	b = binary.LittleEndian.AppendUint64(b, uint64(to))
	for _, p := range places {
		b = binary.LittleEndian.AppendUint64(b, p.origin)
		b = binary.AppendUvarint(b, uint64(p.at))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string, query uint64) (from, to int64, places map[uint64]int64, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 25 || b[0] != cursorVersion || binary.LittleEndian.Uint64(b[1:]) != query {
		return 0, 0, nil, errCursor
	}
	from, to = int64(binary.LittleEndian.Uint64(b[9:])), int64(binary.LittleEndian.Uint64(b[17:]))
	places = map[uint64]int64{}
	for b = b[25:]; len(b) > 0; {
		if len(b) < 9 {
			return 0, 0, nil, errCursor
		}
		origin := binary.LittleEndian.Uint64(b)
		at, n := binary.Uvarint(b[8:])
		if n <= 0 || at > indexMax {
			return 0, 0, nil, errCursor
		}
		places[origin] = int64(at)
		b = b[8+n:]
	}
	return from, to, places, nil
}
