//go:build !linux || !(amd64 || arm64)

package spin

import (
	"errors"
	"time"
)

// set exists on Linux only, for two architectures.
type set struct{}

func newSet() (set, error) {
	return set{}, errors.New("looking for messages before sleeping exists on Linux only; set spin_max = \"0s\" in [proxy]")
}

func (set) add(uintptr) {}
func (set) look() bool  { return false }
func (set) close()      {}

func yield()                    {}
func threadTime() time.Duration { return 0 }
