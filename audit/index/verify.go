package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/proto"
)

// Badger cannot be handed a folder as it is found: it leaves out a table whose checksum is wrong
// and goes on, it cuts a memtable's log at the first bad record while a newer one has the
// position, and it ends the process over a footer that makes no sense. So only what is whole is
// left to it: the manifest and the tables, each read here first. The memtables' logs are thrown
// away; tables are written in the order of the batches, so what remains is the index as it was a
// little earlier, with the position of then.

const (
	tableBytesMax = 64 << 20
	blockBytesMax = 4 << 20 // of a table, unpacked
)

var errMissing = errors.New("a table is missing")

// verifyFolder removes what is not kept and checks the rest. A folder without a manifest and
// tables is fresh.
func verifyFolder(ctx context.Context, dir string, opt badger.Options) (fresh bool, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	tables, manifest := 0, false
	for _, f := range files {
		switch name := f.Name(); {
		case name == badger.ManifestFilename:
			manifest = true
		case strings.HasSuffix(name, ".sst"):
			tables++
		default:
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return false, err
			}
		}
	}
	if !manifest {
		if tables > 0 {
			return false, errors.New("the manifest is missing")
		}
		return true, nil
	}
	m, err := readManifest(filepath.Join(dir, badger.ManifestFilename), opt)
	if err != nil {
		return false, fmt.Errorf("manifest: %w", err)
	}
	var buf []byte
	for id, t := range m.Tables {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if t.Compression != opt.Compression || t.KeyID != 0 || int(t.Level) >= opt.MaxLevels {
			return false, fmt.Errorf("table %d was written with other settings", id)
		}
		if buf, err = verifyTable(table.NewFilename(id, dir), buf); err != nil {
			return false, fmt.Errorf("table %d: %w", id, err)
		}
	}
	return false, nil
}

func readManifest(path string, opt badger.Options) (m badger.Manifest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	defer recovered(&err)
	m, _, err = badger.ReplayManifestFile(f, opt.ExternalMagicVersion, opt)
	return m, err
}

// verifyTable reads a whole table file and checks each sum in it. It reads and does not map, so
// that a file which shrinks is an error and no signal. buf is memory to use again.
//
//	blocks | index | u32 length | sum of index | u32 length of sum
//	block: snappy(entries | offsets | u32 count | sum | u32 length of sum)
func verifyTable(path string, buf []byte) (_ []byte, err error) {
	defer recovered(&err) // what a sum's algorithm, or a flatbuffer, can make of changed bytes
	if buf, err = readFile(path, buf); err != nil {
		return buf, err
	}
	rest, sum, err := cutSum(buf)
	if err != nil {
		return buf, fmt.Errorf("footer: %w", err)
	}
	index, err := cutTail(rest)
	if err != nil {
		return buf, fmt.Errorf("footer: %w", err)
	}
	if err := y.VerifyChecksum(index, sum); err != nil {
		return buf, fmt.Errorf("index: %w", err)
	}
	ti := fb.GetRootAsTableIndex(index, 0)
	if ti.OffsetsLength() == 0 {
		return buf, errors.New("index: no blocks")
	}
	var at fb.BlockOffset
	var block []byte
	for i := range ti.OffsetsLength() {
		if !ti.Offsets(&at, i) {
			return buf, errors.New("index: a block is missing")
		}
		from, n := int(at.Offset()), int(at.Len())
		if from < 0 || n <= 0 || from > len(rest) || n > len(rest)-from {
			return buf, fmt.Errorf("block %d lies outside of the file", i)
		}
		if block, err = verifyBlock(rest[from:from+n], block); err != nil {
			return buf, fmt.Errorf("block %d: %w", i, err)
		}
	}
	return buf, nil
}

func verifyBlock(packed, block []byte) ([]byte, error) {
	if n, err := snappy.DecodedLen(packed); err != nil || n > blockBytesMax {
		return block, fmt.Errorf("cannot be unpacked: %d bytes: %v", n, err)
	}
	block, err := snappy.Decode(block[:cap(block)], packed)
	if err != nil {
		return block, err
	}
	data, sum, err := cutSum(block)
	if err != nil {
		return block, err
	}
	return block, y.VerifyChecksum(data, sum)
}

// cutTail takes a part from the end of b, behind which stands its length.
func cutTail(b []byte) (part []byte, err error) {
	if len(b) < 4 {
		return nil, errors.New("too short")
	}
	n, rest := int(binary.BigEndian.Uint32(b[len(b)-4:])), b[:len(b)-4]
	if n > len(rest) {
		return nil, errors.New("a length makes no sense")
	}
	return rest[len(rest)-n:], nil
}

func cutSum(b []byte) (rest []byte, sum *pb.Checksum, err error) {
	raw, err := cutTail(b)
	if err != nil {
		return nil, nil, err
	}
	sum = &pb.Checksum{}
	if err := proto.Unmarshal(raw, sum); err != nil {
		return nil, nil, err
	}
	if sum.Algo != pb.Checksum_CRC32C && sum.Algo != pb.Checksum_XXHash64 {
		return nil, nil, errors.New("a sum of no known kind")
	}
	return b[:len(b)-4-len(raw)], sum, nil
}

func readFile(path string, buf []byte) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return buf, err
	}
	n := st.Size()
	if n < 16 || n > tableBytesMax {
		return buf, fmt.Errorf("%d bytes are no table", n)
	}
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err = f.ReadAt(buf, 0)
	return buf, err
}

// recovered makes an error of a panic in Badger or its libraries over bytes that were changed.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", errCorrupt, p)
	}
}

// verifyLive checks one table of those in use: the next after the one of number last.
func (s *store) verifyLive(last uint64, buf []byte) (uint64, []byte, error) {
	next, found := uint64(0), false
	for _, t := range s.db.Tables() {
		if t.ID > last && (!found || t.ID < next) {
			next, found = t.ID, true
		}
	}
	if !found {
		return 0, buf, nil
	}
	buf, err := verifyTable(table.NewFilename(next, s.dir), buf)
	if err == nil || !s.has(next) { // merged away meanwhile
		return next, buf, nil
	}
	return next, buf, fmt.Errorf("%w: table %d: %w", errCorrupt, next, err)
}

// missing looks whether the files of all tables in use are there.
func (s *store) missing() error {
	there := map[uint64]bool{}
	tables := s.db.Tables()
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if id, ok := tableID(f.Name()); ok {
			there[id] = true
		}
	}
	for _, t := range tables {
		if !there[t.ID] && s.has(t.ID) {
			return fmt.Errorf("%w: %w: %d", errCorrupt, errMissing, t.ID)
		}
	}
	return nil
}

func (s *store) has(id uint64) bool {
	for _, t := range s.db.Tables() {
		if t.ID == id {
			return true
		}
	}
	return false
}

func tableID(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, ".sst")
	if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	return table.ParseFileID(name)
}
