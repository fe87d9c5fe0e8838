package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"fire/audit/tlog"
)

// awayHead is the newest head in a second place, so that a log whose end was cut, or that was
// replaced by an older copy, is found: two blocks take turns, each with its sum, so that one is
// whole whatever happens while the other is written. Each head is written at once, which
// outlives the process, and synced within awaySyncEvery, which outlives the machine.
type awayHead struct {
	mu    sync.Mutex
	file  File
	turn  int64
	dirty bool
}

const (
	awayMagic      = "firehead"
	awayBlockBytes = 4096
	awaySyncEvery  = 100 * time.Millisecond
	awayName       = "head"
)

// openAway reads the file of a log and gives the checkpoint that it holds, nil for none.
func openAway(d Disk, origin string) (*awayHead, []byte, error) {
	f, err := d.Open(awayName)
	if err != nil {
		if f, err = d.Create(awayName, 2*awayBlockBytes); err != nil {
			return nil, nil, fmt.Errorf("audit: the head that lies away: %w", err)
		}
	}
	a := &awayHead{file: f}
	var best []byte
	size := int64(-1)
	for turn := range int64(2) {
		note, err := a.read(turn)
		if err != nil {
			continue // never written, or cut by a crash: the other one is whole
		}
		h, err := tlog.Claimed(note)
		if err == nil && h.Origin == origin && h.Size > size {
			best, size, a.turn = note, h.Size, 1-turn
		}
	}
	return a, best, nil
}

func (a *awayHead) read(turn int64) ([]byte, error) {
	b := make([]byte, awayBlockBytes)
	if _, err := a.file.ReadAt(b, turn*awayBlockBytes); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(b[8:]))
	if string(b[:8]) != awayMagic || n > awayBlockBytes-20 {
		return nil, errors.New("no head")
	}
	if crc32.Checksum(b[:16+n], castagnoli) != binary.LittleEndian.Uint32(b[16+n:]) {
		return nil, errors.New("a head with a wrong checksum")
	}
	return b[16 : 16+n], nil
}

// put writes a head that is durable in the log.
func (a *awayHead) put(h tlog.Head, note []byte) error {
	if len(note) > awayBlockBytes-20 {
		return fmt.Errorf("a head of %d bytes", len(note))
	}
	b := make([]byte, 16, awayBlockBytes)
	copy(b, awayMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(note)))
	b = append(b, note...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = b[:awayBlockBytes] // zeros: an earlier head may have been longer
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.file.WriteAt(b, a.turn*awayBlockBytes); err != nil {
		return err
	}
	a.turn, a.dirty = 1-a.turn, true
	return nil
}

// sync is called by one goroutine. It holds nothing while the disk works.
func (a *awayHead) sync() error {
	a.mu.Lock()
	dirty := a.dirty
	a.dirty = false
	a.mu.Unlock()
	if !dirty {
		return nil
	}
	return a.file.Sync()
}

func (a *awayHead) close() error {
	return errors.Join(a.sync(), a.file.Close())
}

// awayUsed is how many bytes of a block a checkpoint takes.
func awayUsed(note []byte) int { return 16 + len(note) + 4 }
