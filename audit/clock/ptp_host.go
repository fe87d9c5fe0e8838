package clock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ptp asks ptp4l, and measures the host's clock against the hardware clock that ptp4l steers.
type ptp struct {
	ways   []string
	domain uint8
	device string
	wander int
	now    func() (wall, mono int64)
	seq    uint16
	last   Word
}

// Ask takes the first socket that has an answer.
func (p *ptp) Ask(ctx context.Context) (Word, error) {
	err := errAbsent
	for _, way := range p.ways {
		var s PTPState
		_, mono := p.now()
		if s, err = p.state(ctx, way); err != nil {
			continue
		}
		var hw *Hardware
		if p.device != "" {
			if hw, err = measure(p.device); err != nil {
				return Word{}, err // ptp4l's word is of that clock, not of the host's
			}
		}
		return p.moving(s.word(hw, p.wander, mono)), nil
	}
	return Word{}, err
}

// moving adds how fast the host's clock was seen to leave its reference: nothing tells whether
// somebody (phc2sys) steers it.
func (p *ptp) moving(w Word) Word {
	if age := w.Mono - p.last.Mono; p.last.BoundNanos >= 0 && p.last.Mono > 0 && age > 0 && age <= int64(wordStale) && p.last.Reference == w.Reference {
		moved := magnitude(w.OffsetNanos - p.last.OffsetNanos)
		if moved < ppb { // within that age below 2^34 * 10^9
			w.RatePPB = min(maxRatePPB, w.RatePPB+moved*ppb/age)
		}
	}
	p.last = w
	return w
}

func (p *ptp) state(ctx context.Context, way string) (PTPState, error) {
	conn, done, err := dial(ctx, way, false)
	if err != nil {
		return PTPState{}, err
	}
	defer done()
	var s PTPState
	buf := make([]byte, ptpRepliesMost)
	for _, id := range []uint16{ptpStatus, ptpCurrent, ptpParent, ptpTime} {
		p.seq++
		if _, err := conn.Write(appendPTPGet(nil, p.domain, p.seq, id)); err != nil {
			return PTPState{}, err
		}
		data, err := []byte(nil), errOtherReply
		for n := 0; n < replyMax && errors.Is(err, errOtherReply); n++ {
			var got int
			if got, err = conn.Read(buf); err == nil {
				data, err = parsePTP(buf[:got], p.domain, p.seq, id)
			}
		}
		if err == nil {
			err = s.take(id, data)
		}
		if err != nil {
			return PTPState{}, fmt.Errorf("ptp4l at %s: %w", way, err)
		}
	}
	return s, nil
}

// readsOfDevice is how many times the device is read at once; the one that took least counts.
const readsOfDevice = 8

// measure reads a PTP hardware clock between two readings of the host's (PTP_SYS_OFFSET_EXTENDED).
func measure(device string) (*Hardware, error) {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ptp: open %s: %w", device, err)
	}
	defer unix.Close(fd)
	r, err := unix.IoctlPtpSysOffsetExtended(fd, readsOfDevice)
	if err != nil {
		return nil, fmt.Errorf("ptp: read %s: %w", device, os.NewSyscallError("PTP_SYS_OFFSET_EXTENDED", err))
	}
	hw, ok := nearest(r.Ts[:min(int(r.Samples), readsOfDevice)])
	if !ok {
		return nil, fmt.Errorf("ptp: %s gave no reading", device)
	}
	hw.Device = filepath.Base(device)
	return &hw, nil
}

// nearest is the reading whose two host times lie closest together.
func nearest(reads [][3]unix.PtpClockTime) (best Hardware, ok bool) {
	for _, r := range reads {
		before, dev, after := ptpNanos(r[0]), ptpNanos(r[1]), ptpNanos(r[2])
		took := after - before
		if took < 0 {
			continue // the host's clock was set between them
		}
		if half := (took + 1) / 2; !ok || half < best.WithinNanos {
			best, ok = Hardware{OffsetNanos: before + took/2 - dev, WithinNanos: half}, true
		}
	}
	return best, ok
}

func ptpNanos(t unix.PtpClockTime) int64 { return t.Sec*ppb + int64(t.Nsec) }
