package witness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"fire/audit/tlog"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// Log is whose heads are to be cosigned.
type Log interface {
	tlog.Reader
	Head() (tlog.Head, []byte) // the newest that is durable, and its checkpoint
}

// Peer is a witness of the log.
type Peer struct {
	Name     string // of the status
	Verifier string // its public key
	Send     Send
}

// SubmitterConfig is what a Submitter needs. Where a number is 0 it has its default.
type SubmitterConfig struct {
	Log     Log
	Peers   []Peer
	Policy  string           // when a head is cosigned enough; PolicyText writes one
	File    string           // where the newest such head is kept
	Every   time.Duration    // between two looks at the log: 1 s
	Timeout time.Duration    // for a request: 5 s
	WaitMax time.Duration    // between two tries at a witness that fails: 1 min
	Now     func() time.Time // of the status; time.Now

	open func(dir string) (disk, error) // a test's
}

// targetsMax is how many heads at most are offered, or remembered while a slow witness has one.
const targetsMax = 32

// Submitter offers the newest heads of one log to its witnesses, and gathers their cosignatures.
type Submitter struct {
	cfg     SubmitterConfig
	policy  *tlog.Policy
	peers   []*peer
	changed chan struct{} // holds one value while best may be newer than the file
	kept    []byte        // what is in the file; belongs to who stores

	mu      sync.Mutex // guards what follows, and what peers say; never held across I/O
	targets []*target  // the oldest first
	best    cosigned
	problem error // of the log; a peer's is its own
	unkept  error // of the file
}

// target is a head that is being offered.
type target struct {
	head       tlog.Head
	text       string // what is signed
	checkpoint []byte
	lines      map[*peer]string
	inFlight   int
	met        bool // the policy is
}

// cosigned is a head that the policy holds to be good, or that was read from the file.
type cosigned struct {
	head       tlog.Head
	checkpoint []byte
	good       bool // under the policy of today
}

// NewSubmitter reads the head that was cosigned last.
func NewSubmitter(cfg SubmitterConfig) (*Submitter, error) {
	cfg.Every, cfg.Timeout, cfg.WaitMax = lasting(cfg.Every, time.Second), lasting(cfg.Timeout, 5*time.Second), lasting(cfg.WaitMax, time.Minute)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.open == nil {
		cfg.open = func(dir string) (disk, error) { return openFolder(dir, false) }
	}
	policy, err := tlog.ParsePolicy([]byte(cfg.Policy))
	if err != nil {
		return nil, err
	}
	s := &Submitter{cfg: cfg, policy: policy, changed: make(chan struct{}, 1)}
	for _, p := range cfg.Peers {
		v, err := torchwood.NewCosignatureVerifier(p.Verifier)
		if err != nil {
			return nil, fmt.Errorf("witness %s: %q is no public key of a witness: %w", p.Name, p.Verifier, err)
		}
		s.peers = append(s.peers, &peer{Peer: p, verifier: v, wake: make(chan struct{}, 1)})
	}
	return s, s.remember()
}

func lasting(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Run offers heads until ctx ends, and returns when all that it has started has ended.
func (s *Submitter) Run(ctx context.Context) error {
	d, err := s.cfg.open(filepath.Dir(s.cfg.File))
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	var all sync.WaitGroup
	for _, p := range s.peers {
		all.Go(func() { s.attend(ctx, p) })
	}
	all.Go(func() { s.storing(ctx, d) })
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	for ctx.Err() == nil {
		s.look()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	all.Wait()
	s.store(d)
	return d.Close()
}

// look takes the log's newest head as a target.
func (s *Submitter) look() {
	head, checkpoint := s.cfg.Log.Head()
	if head.Size == 0 {
		return
	}
	n, err := note.Open(checkpoint, nil) // for its text; whether its signature is good the witnesses say, and the policy
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		n = unverified.Note
	} else if err != nil {
		s.fail(fmt.Errorf("the log's own checkpoint of size %d cannot be read: %w", head.Size, err))
		return
	}
	t := &target{head: head, text: n.Text, checkpoint: checkpoint, lines: map[*peer]string{}}
	s.mu.Lock()
	best := s.best
	fresh := len(s.targets) == 0 || s.targets[len(s.targets)-1].head != head
	if fresh {
		s.targets = append(s.targets, t)
		if len(s.targets) > targetsMax {
			s.targets = s.targets[1:]
		}
	}
	s.mu.Unlock()
	if best.checkpoint != nil && head.Size < best.head.Size {
		f, err := VerifyAgainst(s.cfg.Log, head, best.head)
		s.fail(errors.Join(fmt.Errorf("%v, as %s has it", f, s.cfg.File), err))
	}
	if fresh {
		s.settle(t) // a policy may need nobody
		for _, p := range s.peers {
			signal(p.wake)
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// attend is one witness's goroutine: whatever this one does, the others go on.
func (s *Submitter) attend(ctx context.Context, p *peer) {
	for ctx.Err() == nil {
		t := s.pick(p)
		if t == nil {
			select {
			case <-p.wake:
			case <-ctx.Done():
			}
			continue
		}
		err := s.offer(ctx, p, t)
		s.mu.Lock()
		t.inFlight--
		p.failed(err)
		wait := s.backOff(p.failures)
		s.mu.Unlock()
		if err == nil {
			s.settle(t)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// backOff is how long a witness is left alone after so many failures in a row.
func (s *Submitter) backOff(failures int) time.Duration {
	wait := s.cfg.Every
	for ; failures > 1 && wait < s.cfg.WaitMax; failures-- {
		wait *= 2
	}
	wait = min(wait, s.cfg.WaitMax)
	return wait - time.Duration(rand.Int64N(int64(wait)/4+1)) // so that hosts do not come all at once
}

// pick chooses what a witness is offered next. Not always the newest head: two slow witnesses
// that each take another one would never agree. It is the one that most others have cosigned or
// are about to, while that is not enough, and else the newest.
func (s *Submitter) pick(p *peer) *target {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out *target
	most := 0
	for _, t := range s.targets {
		if t.lines[p] != "" || t.head.Size < p.size || t.head.Size < p.cosigned {
			continue
		}
		n := 0
		if !t.met {
			n = len(t.lines) + t.inFlight
		}
		if out == nil || n >= most {
			out, most = t, n
		}
	}
	if out != nil {
		out.inFlight++
	}
	return out
}

// settle looks whether a head has come to satisfy the policy.
func (s *Submitter) settle(t *target) {
	s.mu.Lock()
	lines := maps.Clone(t.lines)
	best := s.best
	s.mu.Unlock()
	merged := append([]byte{}, t.checkpoint...)
	for _, p := range s.peers {
		merged = append(merged, lines[p]...)
	}
	_, err := s.policy.Open(merged)
	if err != nil {
		if !errors.Is(err, tlog.ErrUncosigned) { // the log's key is not the policy's
			s.fail(fmt.Errorf("the log's own head of size %d: %w", t.head.Size, err))
		}
		return
	}
	if best.checkpoint != nil && t.head.Size >= best.head.Size {
		f, err := VerifyAgainst(s.cfg.Log, t.head, best.head)
		if err != nil && !errors.Is(err, ErrPruned) || err == nil && !f.Relation.Good() {
			s.fail(errors.Join(fmt.Errorf("%v; what was cosigned before is in %s", f, s.cfg.File), err))
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.met = true
	c := cosigned{t.head, merged, true}
	if s.best.checkpoint == nil || t.head.Size > s.best.head.Size || t.head == s.best.head && (!s.best.good || c.lines() > s.best.lines()) {
		s.best, s.problem = c, nil
		signal(s.changed)
	}
}

func (s *Submitter) fail(err error) {
	s.mu.Lock()
	s.problem = err
	s.mu.Unlock()
}

// Cosigned is the newest head that satisfies the policy, with the signatures that make it do so.
// The checkpoint is nil before there is one.
func (s *Submitter) Cosigned() (tlog.Head, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.best.good {
		return tlog.Head{}, nil
	}
	return s.best.head, s.best.checkpoint
}

// Remembered is the newest head that was ever cosigned enough, also under an earlier policy: what
// the log is compared with when it starts. The checkpoint is nil where there is none.
func (s *Submitter) Remembered() (tlog.Head, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.best.head, s.best.checkpoint
}

// Status is for display.
func (s *Submitter) Status() (peers []PeerStatus, problem error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		peers = append(peers, PeerStatus{p.Name, p.cosigned, p.at, p.err, p.failures, p.forgot})
	}
	return peers, errors.Join(s.problem, s.unkept)
}
