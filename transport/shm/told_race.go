//go:build race

package shm

import "sync/atomic"

// told is an atomic of Go's own memory beside that in the ring.
type told struct{ n atomic.Uint64 }

func (t *told) say()  { t.n.Add(1) }
func (t *told) hear() { t.n.Load() }
