//go:build !linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

func supported() error {
	return fmt.Errorf("bench does not run on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

type wire struct{}

func dial(context.Context, string) (*wire, error) { return nil, supported() }
func (*wire) write([]byte) error                  { return supported() }
func (*wire) readFull([]byte) error               { return supported() }
func (*wire) shut()                               {}
func (*wire) close()                              {}
func sharpenTimer()                               {}
func sleepUntil(time.Time)                        {}
func processCPU(int) (time.Duration, error)       { return 0, supported() }
