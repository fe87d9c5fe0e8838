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
func (*wire) offer([]byte) (int, error)           { return 0, supported() }
func (*wire) take([]byte) (int, error)            { return 0, supported() }
func sharpenTimer()                               {}
func processCPU(int) (time.Duration, error)       { return 0, supported() }

type waiter struct{}

func newWaiter() (*waiter, error)           { return nil, supported() }
func (*waiter) add(*wire, int) error        { return supported() }
func (*waiter) want(*wire, int, bool) error { return supported() }
func (*waiter) stop()                       {}
func (*waiter) close()                      {}
func (*waiter) ready(time.Duration, func(int, bool, bool) error) (bool, error) {
	return false, supported()
}
