package check

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// kernel asks for limits and for the state of the clock, which needs no right.
func (h *Host) kernel() {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) == nil {
		h.OpenFilesSoft, h.OpenFilesHard = clamp(l.Cur), clamp(l.Max)
	}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return
	}
	h.ClockSynced = 1
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		h.ClockSynced = 0
	}
	h.ClockMaxError = time.Duration(t.Maxerror) * time.Microsecond
}

func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
