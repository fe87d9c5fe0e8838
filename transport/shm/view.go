package shm

import (
	"os"
	"sync/atomic"
	"time"
)

// View reads the counters of a sealed ring, for those who are neither writer nor reader.
// Any goroutine may ask; the numbers are the writer's word, each by itself.
type View struct{ ring *ring }

// WriterStat is what a writer has counted.
type WriterStat struct {
	Messages     uint64 `json:"messages_total"`
	Bytes        uint64 `json:"bytes_total"`
	Full         uint64 `json:"full_refusals_total"` // messages refused since a reader of the lane was that far behind
	Bells        uint64 `json:"bells_total"`         // system calls to wake a reader
	PaddingLines uint64 `json:"padding_lines_total"`
	Position     uint64 `json:"position_lines"`
}

// Since is what was counted between old and s.
func (s WriterStat) Since(old WriterStat) WriterStat {
	s.Messages -= min(s.Messages, old.Messages)
	s.Bytes -= min(s.Bytes, old.Bytes)
	s.Full -= min(s.Full, old.Full)
	s.Bells -= min(s.Bells, old.Bells)
	s.PaddingLines -= min(s.PaddingLines, old.PaddingLines)
	return s
}

// Since is what was counted between old and s.
func (s ReaderStat) Since(old ReaderStat) ReaderStat {
	s.Messages -= min(s.Messages, old.Messages)
	s.Bytes -= min(s.Bytes, old.Bytes)
	s.Laps -= min(s.Laps, old.Laps)
	s.Lost -= min(s.Lost, old.Lost)
	s.Waits -= min(s.Waits, old.Waits)
	for i := range s.Latency {
		s.Latency[i] -= min(s.Latency[i], old.Latency[i])
	}
	return s
}

// OpenView maps the ring read-only.
func OpenView(data *os.File) (*View, error) {
	if err := checkSealed(data); err != nil {
		return nil, err
	}
	r, err := openRing(data, false)
	if err != nil {
		return nil, err
	}
	return &View{r}, nil
}

// Info is what the ring says of itself.
func (v *View) Info() Info { return v.ring.info }

// Stat reads the counters.
func (v *View) Stat() WriterStat {
	at := func(i uintptr) uint64 { return v.ring.load(offWritten + 8*i) }
	return WriterStat{Messages: at(countMessages), Bytes: at(countBytes), Full: at(countFull), Bells: at(countBells),
		PaddingLines: at(countPadding), Position: at(countPosition)}
}

// Close unmaps. Stat may not be called any more.
func (v *View) Close() error { return v.ring.unmap() }

// CursorView reads the counters of a reader.
type CursorView struct{ cursor memory }

// ReaderStat is what a reader has counted.
type ReaderStat struct {
	Position uint64  `json:"position_lines"`
	Asleep   bool    `json:"asleep"`
	Messages uint64  `json:"messages_total"`
	Bytes    uint64  `json:"bytes_total"`
	Laps     uint64  `json:"laps_total"`
	Lost     uint64  `json:"lost_messages_total"`
	Waits    uint64  `json:"waits_total"` // times it slept
	Latency  Latency `json:"latency"`
}

// Latency holds the ages of sampled messages when they were read, by powers of two:
// element i counts those of 2^i to 2^(i+1)-1 nanoseconds.
type Latency [64]uint64

// OpenCursorView maps the cursor of a ring of that epoch read-only.
func OpenCursorView(cursor *os.File, epoch uint64) (*CursorView, error) {
	if err := checkSealed(cursor); err != nil {
		return nil, err
	}
	m, err := openCursor(cursor, false, epoch)
	if err != nil {
		return nil, err
	}
	return &CursorView{m}, nil
}

// Stat reads the counters.
func (v *CursorView) Stat() ReaderStat {
	at := func(i uintptr) uint64 { return v.cursor.load(offRead + 8*i) }
	s := ReaderStat{Position: v.cursor.load(offPosition), Asleep: v.cursor.loadHalf(offAsleep) != 0, Messages: at(countReadMessages),
		Bytes: at(countReadBytes), Laps: at(countLaps), Lost: at(countLost), Waits: at(countWaits)}
	for i := range s.Latency {
		s.Latency[i] = v.cursor.load(offLatency + 8*uintptr(i))
	}
	return s
}

// Close unmaps. Stat may not be called any more.
func (v *CursorView) Close() error { return v.cursor.unmap() }

// Count is the number of samples.
func (l *Latency) Count() (n uint64) {
	for _, c := range l {
		n += c
	}
	return n
}

// Quantile is the upper end of the power of two in which the quantile lies, 0 without
// samples: at most twice the true value.
func (l *Latency) Quantile(q float64) time.Duration {
	total := l.Count()
	if total == 0 {
		return 0
	}
	rank := min(uint64(q*float64(total)), total-1)
	for i, c := range l {
		if rank < c {
			return time.Duration(uint64(1)<<min(i+1, 62)) - 1
		}
		rank -= c
	}
	return 0
}

// Unread counts the messages that lie in a lane from a reader's position on: nothing there
// is written over while the writer respects its cursor. A writer that does not cannot keep
// anybody counting: a lane holds one lap.
func (v *View) Unread(position uint64) (messages uint64) {
	r := Reader{ring: v.ring}
	for end := position + v.ring.size; position < end; {
		line := v.ring.line(position)
		if atomic.LoadUint64((*uint64)(line)) != position+v.ring.key1 {
			break
		}
		_, lines, _, flags, ok := r.header(line, position)
		if !ok {
			break
		}
		position += lines
		if flags&flagPad == 0 {
			messages++
		}
	}
	return messages
}
