package subject

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ID names the key of a subject. It is drawn, and says nothing of whom it stands for.
type ID [16]byte

// String is the id as entries are shown.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads what String has given.
func ParseID(s string) (id ID, err error) {
	if len(s) != 2*len(id) {
		return ID{}, fmt.Errorf("subject: %q is no id of %d hex digits", s, 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("subject: %q is no id of %d hex digits", s, 2*len(id))
	}
	return id, nil
}

// nameTag finds a subject by its name: HMAC-SHA256 of the name, its first half.
type nameTag [16]byte

// kind is what a record is.
type kind uint8

const (
	header kind = iota + 1 // the first of a file, its id tells the store's key
	live                   // a subject's key
	erased                 // a key that was destroyed, its id alone
	void                   // where a key was, until the file is written anew
)

// The form of the file: records of 128 bytes, integers little-endian. Four make a sector, and
// none lies in two.
//
//	  0 kind u8, version u8, two of nothing
//	  4 durable u32: that many records before it were safe when it was written
//	  8 when i64, nanoseconds since 1970
//	 16 id 16, 32 name 16
//	 48 nonce 12, 60 the key, sealed under the store's: 32 and 16
//	120 CRC-32C of all before; 127 the mark that the record was written to its end
const (
	recordBytes = 128
	crcAt       = 120
	endMark     = 0xa5
	formVersion = 1
	nonceBytes  = 12
	keyBytes    = 32
	tagBytes    = 16
)

// record is one of them.
type record struct {
	kind    kind
	durable uint32
	when    int64
	id      ID
	name    nameTag
	nonce   [nonceBytes]byte
	wrapped [keyBytes + tagBytes]byte
}

// append adds the record's bytes.
func (r *record) append(b []byte) []byte {
	from := len(b)
	b = append(b, byte(r.kind), formVersion, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, r.durable)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.when))
	b = append(b, r.id[:]...)
	b = append(b, r.name[:]...)
	b = append(b, r.nonce[:]...)
	b = append(b, r.wrapped[:]...)
	b = append(b, make([]byte, crcAt-(len(b)-from))...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[from:], crc32.MakeTable(crc32.Castagnoli)))
	return append(b, 0, 0, 0, endMark)
}

var (
	errTorn    = errors.New("not written to its end")
	errFlipped = errors.New("its checksum is wrong")
	errForm    = errors.New("of a form that is not known")
)

// parse reads one record. A write that was cut off has not come to its end mark; anything else
// that does not fit was changed after it was written.
func parse(b []byte) (record, error) {
	switch {
	case len(b) < recordBytes || b[recordBytes-1] == 0:
		return record{}, errTorn
	case binary.LittleEndian.Uint32(b[crcAt:]) != crc32.Checksum(b[:crcAt], crc32.MakeTable(crc32.Castagnoli)),
		b[recordBytes-1] != endMark || b[124] != 0 || b[125] != 0 || b[126] != 0:
		return record{}, errFlipped
	}
	r := record{kind: kind(b[0]), durable: binary.LittleEndian.Uint32(b[4:]), when: int64(binary.LittleEndian.Uint64(b[8:]))}
	copy(r.id[:], b[16:])
	copy(r.name[:], b[32:])
	copy(r.nonce[:], b[48:])
	copy(r.wrapped[:], b[60:])
	if r.kind < header || r.kind > void || b[1] != formVersion || b[2] != 0 || b[3] != 0 || string(b[108:crcAt]) != string(make([]byte, crcAt-108)) {
		return record{}, errForm
	}
	return r, nil
}

// contents is what a file holds.
type contents struct {
	records []record // by number; a damaged one that is being erased is void
	cut     bool     // the end was torn, and is not in records
	undone  bool     // a key is still there, or its place, whose subject is erased
}

// SubjectsMax bounds the subjects of one store, erased ones included.
const SubjectsMax = 1 << 21

// scan reads a file of that size. What is torn may only be what nobody was told of: a record
// says how many before it were safe. A record that is damaged is an erasure that was cut off,
// if the erased record of its id is there; otherwise it is damage.
func scan(r io.ReaderAt, size int64) (contents, error) {
	if size > (2*SubjectsMax+1)*recordBytes {
		return contents{}, fmt.Errorf("%w: %d bytes are more than %d subjects have", ErrDamaged, size, SubjectsMax)
	}
	var c contents
	gone := map[ID]bool{}
	bad := map[int]error{}
	badID := map[int]ID{}
	safe, buf := uint32(0), make([]byte, 1<<16)
	for at := int64(0); at < size; at += int64(len(buf)) {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if err != nil && err != io.EOF {
			return contents{}, err
		}
		for b := buf[:n]; len(b) > 0; b = b[min(recordBytes, len(b)):] {
			rec, err := parse(b)
			number := len(c.records)
			switch {
			case err != nil:
				bad[number] = err
				if len(b) >= 32 {
					badID[number] = ID(b[16:32])
				}
			case rec.kind == erased:
				gone[rec.id] = true
			}
			safe = max(safe, rec.durable)
			c.records = append(c.records, rec)
		}
	}
	end := len(c.records)
	for n, err := range bad {
		switch {
		case err != errTorn && gone[badID[n]]:
			c.records[n], c.undone = record{kind: void, id: badID[n]}, true
		case err == errTorn && n >= int(safe):
			end, c.cut = min(end, n), true
		default:
			return contents{}, fmt.Errorf("%w: record %d at byte %d: %w", ErrDamaged, n, n*recordBytes, err)
		}
	}
	c.records = c.records[:end]
	return c, c.check(gone)
}

// check finds what cannot be, though each record is whole.
func (c *contents) check(gone map[ID]bool) error {
	ids, names := map[ID]bool{}, map[nameTag]bool{}
	for n, r := range c.records {
		switch {
		case (n == 0) != (r.kind == header):
			return fmt.Errorf("%w: record %d is of kind %d", ErrDamaged, n, r.kind)
		case r.kind == void:
			c.undone = true
		case r.kind == live && gone[r.id]:
			c.undone = true
		case r.kind == live && (ids[r.id] || names[r.name]):
			return fmt.Errorf("%w: record %d is of a subject that was there before", ErrDamaged, n)
		case r.kind == live:
			ids[r.id], names[r.name] = true, true
		}
	}
	return nil
}
