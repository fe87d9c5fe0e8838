package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"fire/audit/tlog"
)

// remember reads the head that was cosigned last. A policy that has become stricter does not make
// it forgotten, only no longer offered.
func (s *Submitter) remember() error {
	d, err := s.cfg.open(filepath.Dir(s.cfg.File))
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	raw, err := d.Read(filepath.Base(s.cfg.File))
	err = errors.Join(err, d.Close())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	head, err := s.policy.Open(raw)
	good := err == nil
	if errors.Is(err, tlog.ErrUncosigned) { // the log's own signature was verified
		head, err = tlog.Claimed(raw)
	}
	if err != nil {
		return fmt.Errorf("witness: file %s: %w; find out why before you move it away: it is what the log is compared with", s.cfg.File, err)
	}
	s.best, s.kept = cosigned{head, raw, good}, raw
	return nil
}

// storing keeps the file up with what is cosigned. A disk that fails or hangs delays nobody.
func (s *Submitter) storing(ctx context.Context, d disk) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		}
		for !s.store(d) && ctx.Err() == nil {
			timer := time.NewTimer(s.cfg.Every)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
	}
}

// store writes the file if it is older than what is cosigned, and says whether it is up with it.
// Only one goroutine at a time calls it.
func (s *Submitter) store(d disk) bool {
	s.mu.Lock()
	c := s.best
	s.mu.Unlock()
	if bytes.Equal(c.checkpoint, s.kept) {
		return true
	}
	err := replace(d, filepath.Base(s.cfg.File), c.checkpoint)
	if err != nil {
		err = fmt.Errorf("the cosigned head of size %d is not in %s: %w", c.head.Size, s.cfg.File, err)
	} else {
		s.kept = c.checkpoint
	}
	s.mu.Lock()
	s.unkept = err
	s.mu.Unlock()
	return err == nil
}

// lines is how many signatures the checkpoint has.
func (c cosigned) lines() int {
	_, signatures, _ := bytes.Cut(c.checkpoint, []byte("\n\n"))
	return bytes.Count(signatures, []byte("\n"))
}
