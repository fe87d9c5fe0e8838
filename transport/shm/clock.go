package shm

import (
	"time"
	_ "unsafe" // for go:linkname
)

// monotonic is CLOCK_MONOTONIC, which all processes of a host share. It is the runtime's
// own look, which goes through the vDSO: x/sys makes a system call of it.
func monotonic() time.Duration { return time.Duration(nanotime()) }

//go:linkname nanotime runtime.nanotime
func nanotime() int64
