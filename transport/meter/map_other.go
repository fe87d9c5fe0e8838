//go:build !linux

package meter

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

var errNoMap = fmt.Errorf("meter pages are not written on %s: %w", runtime.GOOS, errors.ErrUnsupported)

func mapShared(*os.File, int) ([]byte, error) { return nil, errNoMap }
func mapAnonymous(int) ([]byte, error)        { return nil, errNoMap }
func unmap([]byte)                            {}
func reserve(*os.File, int64, int64) error    { return errNoMap }
