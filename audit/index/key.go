package index

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"fire/audit/entry"
	"fire/policy/reason"

	"github.com/cespare/xxhash/v2"
)

// Keys, integers big-endian so that they sort as the log does:
//
//	'l' log u16                                          -> origin
//	'p' log u16                                          -> next index u64, leaf of the entry before it
//	's' log u16 block u32                                -> first and last time of the block's entries
//	'x' log u16 shard u24 tag u8 hash u40 low u24       -> nothing: an id stands in that entry
//	'x' log u16 shard u24 tag u8 hash u40 block u16     -> which entries of the block have the value
//
// A block is 4,096 entries in a row, a shard 256 blocks. The value itself is in no key.
const (
	blockBits  = 12
	shardBits  = 20
	blockSpan  = 1 << blockBits
	shardSpan  = 1 << shardBits
	shardWords = shardSpan / blockSpan // blocks of a shard

	hashBytes   = 5
	prefixBytes = 1 + 2 + 3 + 1 + hashBytes
	idKeyBytes  = prefixBytes + 3

	indexMax = 1 << 44 // 2^24 shards
)

const (
	keyLog      = 'l'
	keyPosition = 'p'
	keySpan     = 's'
	keyPosting  = 'x'
)

// tagKind is the place of an entry's kind among the tags: 0 is none.
const tagKind entry.Tag = 0

// form says how a value of an indexed field is written in a query.
type form uint8

const (
	asText form = iota + 1
	asHex
	asReason
	asNumber
)

// ids are fields of which a value stands in few entries: a key for each.
// lists are fields of which a value stands in many: a key for each block that has it.
var (
	ids = map[entry.Tag]form{
		entry.ClOrdID: asText, entry.OrigID: asText, entry.OrderID: asText, entry.ExecID: asText,
		entry.Trace: asHex, entry.Digest: asHex, entry.DigestOut: asHex,
		entry.SeqNum: asNumber, // of a session: some messages a day have the same one
		entry.Marks:  asNumber, // few messages have any
	}
	lists = map[entry.Tag]form{
		entry.Flow: asHex, entry.Service: asText, entry.Peer: asText, entry.Principal: asText, entry.Channel: asText,
		entry.Rule: asText, entry.Reason: asReason, entry.Sender: asText, entry.Target: asText, entry.Symbol: asText,
		entry.Actor: asText, entry.Subject: asHex, entry.MsgType: asText,
	}
)

// places is what ids and lists say, by tag, for the loop over an entry's fields.
type places [256]uint8

const (
	inNone uint8 = iota
	inIDs
	inLists
)

func newPlaces() *places {
	var p places
	for t := range ids {
		p[t] = inIDs
	}
	for t := range lists {
		p[t] = inLists
	}
	return &p
}

// Indexed are the names of the fields that a search finds without reading the log.
func Indexed() []string {
	var out []string
	for t := range entry.Tag(255) {
		if ids[t] != 0 || lists[t] != 0 {
			out = append(out, t.String())
		}
	}
	return out
}

// valueOf is the text of a query as an entry holds it.
func valueOf(t entry.Tag, text string) ([]byte, error) {
	switch max(ids[t], lists[t]) {
	case asHex:
		b, err := hex.DecodeString(strings.ToLower(text))
		if err != nil || len(b) == 0 {
			return nil, fmt.Errorf("%v=%q: want hex digits, two for each byte", t, text)
		}
		return b, nil
	case asReason:
		c, ok := reason.Parse(text)
		if !ok {
			return nil, fmt.Errorf("%v=%q is no reason code%s", t, text, meant(text, reasons()))
		}
		return numberBytes(uint64(c)), nil
	case asNumber:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%v=%q: want a number from 1 on", t, text)
		}
		return numberBytes(n), nil
	}
	return []byte(text), nil
}

func reasons() (out []string) {
	for _, i := range reason.All() {
		out = append(out, i.Name)
	}
	return out
}

// numberBytes is a number as entry.Builder writes it.
func numberBytes(n uint64) (b []byte) {
	for ; n > 0; n >>= 8 {
		b = append(b, byte(n))
	}
	return b
}

// hashOf is 40 bits in the low bits of a word. Two values that share them cost a reading of an entry.
func hashOf(value []byte) uint64 { return xxhash.Sum64(value) >> (64 - 8*hashBytes) }

// appendPrefix is what the keys of one value in one shard begin with.
func appendPrefix(b []byte, log uint16, shard int64, t entry.Tag, hash uint64) []byte {
	b = append(b, keyPosting, byte(log>>8), byte(log), byte(shard>>16), byte(shard>>8), byte(shard), byte(t))
	return append(b, byte(hash>>32), byte(hash>>24), byte(hash>>16), byte(hash>>8), byte(hash))
}

func appendID(b []byte, log uint16, t entry.Tag, hash uint64, at int64) []byte {
	b = appendPrefix(b, log, at>>shardBits, t, hash)
	return append(b, byte(at>>16)&(1<<(shardBits-16)-1), byte(at>>8), byte(at))
}

func appendList(b []byte, log uint16, t entry.Tag, hash uint64, block int64) []byte {
	b = appendPrefix(b, log, block/shardWords, t, hash)
	return binary.BigEndian.AppendUint16(b, uint16(block%shardWords))
}

// shardPrefix is what all keys of a shard begin with.
func shardPrefix(log uint16, shard int64) []byte {
	return []byte{keyPosting, byte(log >> 8), byte(log), byte(shard >> 16), byte(shard >> 8), byte(shard)}
}

func logKey(kind byte, log uint16) []byte { return []byte{kind, byte(log >> 8), byte(log)} }

func spanKey(log uint16, block int64) []byte {
	return binary.BigEndian.AppendUint32(logKey(keySpan, log), uint32(block))
}
