package witness

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"fire/audit/tlog"

	"golang.org/x/mod/sumdb/note"
)

// peer is a witness and what it has said. What changes is guarded by the submitter's mutex.
type peer struct {
	Peer
	verifier note.Verifier
	wake     chan struct{} // holds one value when there may be something to offer

	size     int64     // that it holds, as far as is known; 0 where it is not
	cosigned int64     // the newest that it has cosigned for this process
	at       time.Time // when
	err      error
	failures int   // in a row
	forgot   int64 // a size that it had, and denied later
}

// PeerStatus is one witness as a person sees it.
type PeerStatus struct {
	Name     string
	Size     int64 // the newest that it has cosigned for this process
	Time     time.Time
	Err      error // of the last try
	Failures int   // in a row
	Forgot   int64 // it had cosigned this size and then held less: it was set back; 0 if never
}

var (
	// ErrBehind is of a witness that has cosigned more than the log has.
	ErrBehind = errors.New("it has cosigned more entries than the log has: the log was cut, or replaced by an older copy")
	// ErrRefused is of a witness that has looked at a head and does not cosign it.
	ErrRefused = errors.New("it refuses the head")
)

// failed notes how a try has ended. The caller has the mutex.
func (p *peer) failed(err error) {
	p.err = err
	if err == nil {
		p.failures = 0
	} else {
		p.failures++
	}
}

// offer is one conversation: the head with its growth from what the witness holds, and once more
// if it holds something else.
func (s *Submitter) offer(ctx context.Context, p *peer, t *target) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	s.mu.Lock()
	old := p.size
	s.mu.Unlock()
	for range 2 {
		proof, err := tlog.ProveGrowth(s.cfg.Log, t.head, old)
		if err != nil {
			return fmt.Errorf("growth from %d to %d: %w", old, t.head.Size, err)
		}
		body := (&request{old: old, proof: proof, checkpoint: t.checkpoint}).format()
		status, contentType, answer, err := p.Send(ctx, body)
		if err != nil {
			return err
		}
		switch status {
		case http.StatusOK:
			line, err := p.cosignature(t.text, answer)
			if err != nil {
				return err
			}
			s.note(p, t, line)
			return nil
		case http.StatusConflict:
			told, err := parseConflict(contentType, answer)
			if err != nil {
				return err
			}
			if told == old {
				return fmt.Errorf("it holds %d entries, and refuses a proof from there", told)
			}
			s.hold(p, told)
			if old = told; told > t.head.Size {
				return s.behind(ctx, p, told)
			}
		default:
			return fmt.Errorf("%w with status %d: %s", ErrRefused, status, short(string(answer)))
		}
	}
	return errors.New("its head changed between two requests")
}

// parseConflict reads the size that a witness holds.
func parseConflict(contentType string, answer []byte) (int64, error) {
	kind, _, _ := strings.Cut(contentType, ";")
	line, rest, ok := strings.Cut(string(answer), "\n")
	size, err := parseSize(line)
	if strings.TrimSpace(kind) != "text/x.tlog.size" || !ok || rest != "" || err != nil {
		return 0, fmt.Errorf("it answers 409 with %q of type %q, which is no size", short(string(answer)), short(contentType))
	}
	return size, nil
}

// hold notes what a witness holds.
func (s *Submitter) hold(p *peer, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size < p.cosigned {
		p.forgot, p.cosigned = max(p.forgot, p.cosigned), 0
		for _, t := range s.targets {
			delete(t.lines, p) // it may be asked for them again
		}
	}
	p.size = size
}

// behind is when a witness holds more than it was offered. If that is more than the log has, the
// log tells it so once: its newest head is smaller than one that it has signed, and the witness
// keeps both. That is the truth, and whoever runs the log wants it known.
func (s *Submitter) behind(ctx context.Context, p *peer, told int64) error {
	head, checkpoint := s.cfg.Log.Head()
	if head.Size >= told {
		return nil // it has grown meanwhile; the next head is offered from there
	}
	_, _, _, err := p.Send(ctx, (&request{old: told, checkpoint: checkpoint}).format())
	return errors.Join(fmt.Errorf("%w: %d there, %d here", ErrBehind, told, head.Size), err)
}

// cosignature takes the witness's own line out of its answer, and verifies it.
func (p *peer) cosignature(text string, answer []byte) (string, error) {
	n, err := note.Open([]byte(text+"\n"+string(answer)), note.VerifierList(p.verifier))
	if err != nil {
		return "", fmt.Errorf("its cosignature is not good: %w", err)
	}
	if n.Text != text {
		return "", errors.New("its answer is more than signature lines")
	}
	raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("— %s %s\n", n.Sigs[0].Name, base64.StdEncoding.EncodeToString(raw)), nil
}

// note keeps a cosignature.
func (s *Submitter) note(p *peer, t *target, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.lines[p] = line
	p.size, p.cosigned, p.at = t.head.Size, t.head.Size, s.cfg.Now()
}
