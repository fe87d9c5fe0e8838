package demo

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// journal keeps a session's replay in one append-only file:
//
//	record: kind byte | length uint32 | payload
//	  'N'  next incoming, next outgoing (two uint64)
//	  'M'  sequence number uint64, message bytes
//	  'R'  both sequences start over
//
// It is written through to the kernel before the peer sees a byte, so it outlives
// the process; it is not fsynced, so it does not promise to outlive the host. A
// record cut short by a crash is dropped. At journalBytesMax the file is written
// anew with what is still needed and renamed into place.
type journal struct {
	path string
	file *os.File
	w    *bufio.Writer
	size int64
	last [2]uint64
	err  error
}

const journalBytesMax = 32 << 20

func openJournal(dir, ours, theirs string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("fix state: %w", err)
	}
	j := &journal{path: filepath.Join(dir, ours+"-"+theirs+".fixlog")}
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fix state: %w", err)
	}
	j.file, j.w = f, bufio.NewWriterSize(f, 64<<10)
	return j, nil
}

// load reads the file into r and leaves the file at its last whole record.
func (j *journal) load(r *replay) error {
	in := bufio.NewReader(j.file)
	var head [5]byte
	payload := make([]byte, 0, 512)
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			break
		}
		n := int(binary.LittleEndian.Uint32(head[1:]))
		if n > replayBytesMax+8 {
			return fmt.Errorf("fix state %s: record of %d bytes at %d; remove the file to start both sequences at 1", j.path, n, j.size)
		}
		payload = append(payload[:0], make([]byte, n)...)
		if _, err := io.ReadFull(in, payload); err != nil {
			break
		}
		j.size += int64(len(head) + n)
		j.apply(r, head[0], payload)
	}
	j.last = [2]uint64{r.nextIn, r.nextOut}
	if err := j.file.Truncate(j.size); err != nil {
		return fmt.Errorf("fix state: %w", err)
	}
	_, err := j.file.Seek(j.size, io.SeekStart)
	return err
}

func (j *journal) apply(r *replay, kind byte, payload []byte) {
	le := binary.LittleEndian
	switch {
	case kind == 'N' && len(payload) == 16:
		r.nextIn, r.nextOut = le.Uint64(payload), le.Uint64(payload[8:])
	case kind == 'M' && len(payload) > 8:
		seq := le.Uint64(payload)
		s := &r.slots[seq%replayMax]
		s.seq, s.raw = seq, append(s.raw[:0], payload[8:]...)
		r.nextOut = max(r.nextOut, seq+1)
	case kind == 'R':
		r.nextIn, r.nextOut = 1, 1
		for i := range r.slots {
			r.slots[i].seq = 0
		}
	}
}

func (j *journal) record(kind byte, parts ...[]byte) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	var head [5]byte
	head[0] = kind
	binary.LittleEndian.PutUint32(head[1:], uint32(n))
	_, err := j.w.Write(head[:])
	for _, p := range parts {
		if err == nil {
			_, err = j.w.Write(p)
		}
	}
	j.size += int64(len(head) + n)
	j.err = errors.Join(j.err, err)
}

func (j *journal) sent(seq uint64, raw []byte) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], seq)
	j.record('M', n[:], raw)
}

func (j *journal) reset() { j.record('R') }

func (j *journal) numbers(r *replay) {
	var n [16]byte
	binary.LittleEndian.PutUint64(n[:], r.nextIn)
	binary.LittleEndian.PutUint64(n[8:], r.nextOut)
	j.record('N', n[:])
	j.last = [2]uint64{r.nextIn, r.nextOut}
}

func (j *journal) flush(r *replay) error {
	if j.last != [2]uint64{r.nextIn, r.nextOut} {
		j.numbers(r)
	}
	if err := errors.Join(j.err, j.w.Flush()); err != nil {
		return fmt.Errorf("fix state %s: %w", j.path, err)
	}
	if j.size > journalBytesMax {
		return j.compact(r)
	}
	return nil
}

// compact writes what r still holds to a new file and puts it in the old one's place.
func (j *journal) compact(r *replay) error {
	f, err := os.CreateTemp(filepath.Dir(j.path), filepath.Base(j.path)+".*")
	if err != nil {
		return fmt.Errorf("fix state: %w", err)
	}
	old := j.file
	j.file, j.size = f, 0
	j.w.Reset(f)
	first := uint64(1)
	if r.nextOut > replayMax {
		first = r.nextOut - replayMax
	}
	for seq := first; seq < r.nextOut; seq++ {
		if raw := r.get(seq); raw != nil {
			j.sent(seq, raw)
		}
	}
	j.numbers(r)
	err = errors.Join(j.err, j.w.Flush(), os.Rename(f.Name(), j.path), old.Close())
	if err != nil {
		return fmt.Errorf("fix state %s: %w", j.path, err)
	}
	return nil
}

func (j *journal) close() error { return errors.Join(j.w.Flush(), j.file.Close()) }
