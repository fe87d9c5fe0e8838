package clock

import (
	"strconv"
	"strings"
	"time"

	"fire/audit/entry"
)

// Word is what a daemon says of the host's clock.
type Word struct {
	Source       entry.ClockSource
	Sync         entry.Sync
	BoundNanos   int64 // how far the clock may be off, at Mono; unknownNanos
	RatePPB      int64 // by which that grows
	OffsetNanos  int64 // of the clock from its reference, as far as it is known
	FrequencyPPB int64
	Stratum      uint64 // of NTP, or the steps from PTP's grandmaster
	Reference    string // what is followed
	Dispersion   int64
	Note         string // what was measured, for the entry
	Mono         int64  // when it was said
	Measured     int64  // when the newest measurement in it was made; a step since then is not in it
}

// unknownNanos is a bound of which nobody knows anything.
const unknownNanos = int64(-1)

const (
	// wordStale is how long a daemon's word is believed after it stopped speaking.
	wordStale = 5 * time.Second
	// sampleStale is how long a sample is believed when no other follows: then nobody
	// watches the clock any more.
	sampleStale = 10 * time.Second
	// setAside is how far wall and monotonic clock may move against one another before a
	// stamp: both are steered alike, so more than this means that the clock was set.
	setAside = time.Millisecond
)

// estimate is what one sample knows. It never changes.
type estimate struct {
	Word
	wall int64 // at Mono
}

// grown is the bound so long after the sample, rounded up; unknown where that is too long.
func (e *estimate) grown(age int64) uint32 {
	if age < 0 {
		age = -age // the other way it grows as much
	}
	if e.BoundNanos < 0 || age > int64(sampleStale) {
		return entry.BoundUnknown
	}
	n := e.BoundNanos + (age*e.RatePPB+ppb-1)/ppb
	if n < 0 || n >= entry.BoundUnknown {
		return entry.BoundUnknown
	}
	return uint32(n)
}

const ppb = int64(time.Second)

// wasSet says that the clock was set between the sample and a reading.
func (e *estimate) wasSet(wall, mono int64) bool {
	moved := (wall - e.wall) - (mono - e.Mono)
	return moved > int64(setAside) || moved < -int64(setAside)
}

// kernelWord is the kernel's estimate: what is left to be corrected and the largest error that
// it was told, while it takes its clock for synchronised.
func kernelWord(k Kernel, driftPPM int, mono int64) Word {
	w := Word{Source: entry.ClockKernel, BoundNanos: unknownNanos, RatePPB: int64(driftPPM) * 1000,
		OffsetNanos: k.OffsetNanos, FrequencyPPB: k.FrequencyPPB, Dispersion: k.MaxErrorNanos, Mono: mono, Measured: mono}
	switch {
	case !k.Known:
		w.Source, w.Sync = entry.ClockUnknown, entry.SyncUnknown
	case k.Unsync:
		w.Sync = entry.Unsynchronised
	default:
		w.Sync, w.BoundNanos = entry.Synchronised, magnitude(k.OffsetNanos)+k.MaxErrorNanos
	}
	return w
}

// pick chooses whose word counts: the first of the daemons' that is fresh and synchronised with
// a bound, then the kernel's, then whichever says at least that it is not. The order is fixed,
// and not "the smallest bound", so that two that are about as good do not take turns.
func pick(kernel Word, daemons []Word, mono int64) Word {
	var second *Word
	for i := range daemons {
		w := &daemons[i]
		if w.Source == entry.ClockUnknown || mono-w.Mono > int64(wordStale) {
			continue
		}
		if w.Sync == entry.Synchronised && w.BoundNanos >= 0 {
			return *w
		}
		if second == nil {
			second = w
		}
	}
	if kernel.Sync == entry.Synchronised || second == nil {
		return kernel
	}
	return *second
}

// at is the word as it holds at a later moment.
func (w Word) at(mono int64) Word {
	if age := max(0, mono-w.Mono); w.BoundNanos >= 0 {
		w.BoundNanos += (age*w.RatePPB + ppb - 1) / ppb
	}
	w.Mono = mono
	return w
}

// shaken is the word after the clock was set by so much since the newest measurement in it.
// Whoever set it may have been the daemon itself, which then knows better; that it has not
// measured since is all that can be seen.
func (w Word) shaken(nanos int64) Word {
	if w.BoundNanos >= 0 {
		w.BoundNanos = min(farthest, w.BoundNanos+min(farthest, magnitude(nanos)))
		w.Note = strings.TrimSpace(w.Note + " stepped_since=" + strconv.FormatInt(nanos, 10))
	}
	return w
}

// farthest is a time so long that it means nothing any more, and two of them can be added.
const farthest = int64(1) << 60

func magnitude(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}
