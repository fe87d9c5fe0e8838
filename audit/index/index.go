package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pollDefault  = 250 * time.Millisecond
	checkDefault = 2 * time.Second
	retryMax     = 30 * time.Second
	reserveBytes = 256 << 20
	failuresMax  = 3 // openings in a row until a folder that looks whole is thrown away
)

// Deps is what the index needs of its surroundings.
type Deps struct {
	Dir string // its folder: it may be deleted at any time
	// Logs are the logs to follow. It is asked again and again, so they may come and go; what is
	// known of one that went stays.
	Logs func() []Log
	Log  *slog.Logger

	Reserve int64                           // bytes of free disk below which it stops; 0: 256 MiB
	Free    func(dir string) (int64, error) // of the file system; nil: what the kernel says
	Poll    time.Duration                   // between looks at the logs; 0: 250 ms. Wake is sooner.
	Check   time.Duration                   // between looks at the folder; 0: 2 s
}

// Index is a disposable index over audit logs. Its methods may be called by several goroutines,
// before Run, during it and after it.
type Index struct {
	deps   Deps
	places *places
	wake   chan struct{}

	mu    sync.Mutex // guards what follows; never held across I/O
	store *store     // nil: none is open
	views map[string]view
	stats Stats
	doubt error // what a search came upon

	// of Run
	lock      *folderLock
	followers map[string]*follower
	failures  int
	spoiled   string // why the folder is thrown away before it is opened again
	scrubbed  uint64
	scrubBuf  []byte
	checkAt   time.Time
	pending   *pending
}

// Stats are the index's own figures.
type Stats struct {
	Entries    int64  // that are indexed and were not pruned
	DiskBytes  int64  // of the folder's tables
	Rebuilds   int64  // times that the folder was thrown away
	Rebuilt    string // why, the last time
	Stopped    string // why it does not go on; empty while it does
	Unreadable int64  // entries of a form that this version does not know
	Tables     int64  // that were read again and found whole, since the start
}

// State is how far the index is in one log.
type State struct {
	Origin  string
	Minimum int64
	Indexed int64 // entries before this one are indexed
	Durable int64
}

// Lag is how many durable entries are not indexed.
func (s State) Lag() int64 { return s.Durable - s.Indexed }

// New makes an index. Nothing is opened before Run.
func New(deps Deps) *Index {
	if deps.Reserve == 0 {
		deps.Reserve = reserveBytes
	}
	if deps.Free == nil {
		deps.Free = freeBytes
	}
	if deps.Poll == 0 {
		deps.Poll = pollDefault
	}
	if deps.Check == 0 {
		deps.Check = checkDefault
	}
	return &Index{deps: deps, places: newPlaces(), wake: make(chan struct{}, 1)}
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Wake says that a log has grown. It never waits.
func (x *Index) Wake() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// Run follows the logs until ctx ends. Whatever becomes of the folder, it goes on.
func (x *Index) Run(ctx context.Context) error {
	defer x.closeStore()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for retry := x.deps.Poll; ; {
		grown, err := x.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := x.deps.Poll
		switch {
		case err == nil:
			x.goesOn()
			retry = x.deps.Poll
		default:
			x.failed(err)
			wait, retry = retry, min(2*retry, retryMax)
		}
		if grown {
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-x.wake:
		case <-timer.C:
		}
	}
}

// round does one batch of each log. grown says that there may be more.
func (x *Index) round(ctx context.Context) (grown bool, err error) {
	if x.store == nil {
		if err := x.openStore(ctx); err != nil {
			return false, err
		}
	}
	if err := x.check(ctx); err != nil {
		return false, err
	}
	var first error
	for _, l := range x.deps.Logs() { // one that cannot be read holds up no other
		more, err := x.step(ctx, l)
		if untrusted(err) || errors.Is(err, errUnwritten) || ctx.Err() != nil {
			return false, err
		}
		grown = grown || more
		if first == nil {
			first = err
		}
	}
	if !grown && first == nil {
		return false, x.settle(ctx)
	}
	return grown, first
}

// untrusted says that the folder's content is not to be used again.
func untrusted(err error) bool {
	return errors.Is(err, errCorrupt) || errors.Is(err, errList) || errors.Is(err, errGone)
}

// failed takes note of an error, and lets go of a folder that is not to be trusted.
func (x *Index) failed(err error) {
	x.mu.Lock()
	again := x.stats.Stopped == err.Error()
	x.stats.Stopped = err.Error()
	x.mu.Unlock()
	if untrusted(err) && x.store != nil {
		x.spoiled = err.Error()
		x.closeStore()
		return
	}
	if errors.Is(err, errUnwritten) {
		x.closeStore()
	}
	if !again {
		x.deps.Log.Warn("audit index: stopped", "why", err)
	}
}

func (x *Index) goesOn() {
	x.mu.Lock()
	was := x.stats.Stopped
	x.stats.Stopped = ""
	x.mu.Unlock()
	if was != "" {
		x.deps.Log.Info("audit index: goes on", "stopped", was)
	}
}

func (x *Index) rebuilt(why string) {
	x.deps.Log.Warn("audit index: thrown away and made again from the logs", "folder", x.deps.Dir, "why", why)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stats.Rebuilds++
	x.stats.Rebuilt = why
}

func (x *Index) openStore(ctx context.Context) error {
	if x.lock == nil {
		l, err := lockFolder(x.deps.Dir)
		if err != nil {
			return err
		}
		x.lock = l
	}
	if err := x.room(); err != nil { // Badger maps files that it writes: without room that is a signal
		return err
	}
	if x.failures >= failuresMax {
		x.failures, x.spoiled = 0, "it could not be opened"
	}
	if x.spoiled != "" {
		if err := os.RemoveAll(filepath.Join(x.deps.Dir, "db")); err != nil {
			return err
		}
		x.rebuilt(x.spoiled)
		x.spoiled = ""
	}
	s, why, err := openStore(ctx, x.deps.Dir, x.deps.Log)
	if why != "" {
		x.rebuilt(why)
	}
	if err != nil {
		x.failures++
		return errors.Join(err, x.unlock())
	}
	x.failures = 0
	x.followers = map[string]*follower{}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.store, x.views = s, map[string]view{}
	return nil
}

func (x *Index) unlock() error {
	l := x.lock
	x.lock = nil
	return l.release()
}

// closeStore lets go of the folder. Searches go on without.
func (x *Index) closeStore() {
	x.mu.Lock()
	s := x.store
	x.store, x.views = nil, nil
	x.mu.Unlock()
	x.pending = nil
	if s != nil {
		if err := s.close(); err != nil {
			x.deps.Log.Warn("audit index: closing", "err", err)
		}
	}
	if x.lock != nil {
		if err := x.unlock(); err != nil {
			x.deps.Log.Warn("audit index: closing", "err", err)
		}
	}
}

// follower is that of a log, which may be new.
func (x *Index) follower(l Log) (*follower, error) {
	if f := x.followers[l.Origin()]; f != nil {
		f.log = l
		return f, nil
	}
	numbers, err := x.store.logs()
	if err != nil {
		return nil, err
	}
	for origin, f := range x.followers { // that have no entry yet
		numbers[origin] = f.number
	}
	number, known := numbers[l.Origin()]
	if !known {
		if number, err = unused(numbers); err != nil {
			return nil, err
		}
	}
	f := &follower{log: l}
	if err := f.load(x.store, number); err != nil {
		return nil, err
	}
	x.followers[l.Origin()] = f
	x.publish(f)
	return f, nil
}

func unused(numbers map[string]uint16) (uint16, error) {
	taken := make([]bool, logsMax)
	for _, n := range numbers {
		if int(n) < len(taken) {
			taken[n] = true
		}
	}
	if n := slices.Index(taken, false); n >= 0 {
		return uint16(n), nil
	}
	return 0, fmt.Errorf("audit index: %d logs at most: delete the folder where most are gone", logsMax)
}

// step indexes one batch. more says that it ended before the log did.
func (x *Index) step(ctx context.Context, l Log) (more bool, err error) {
	f, err := x.follower(l)
	if err != nil {
		return false, err
	}
	head, _ := f.log.Head()
	if head.Size > indexMax {
		return false, fmt.Errorf("audit index: %s has %d entries, %d at most", f.log.Origin(), head.Size, int64(indexMax))
	}
	if minimum := f.log.Minimum(); minimum > f.next {
		if err := x.settle(ctx); err != nil {
			return false, err
		}
		f.skip(minimum)
		x.publish(f)
	}
	if f.next >= head.Size {
		return false, nil
	}
	if err := x.room(); err != nil {
		return false, err
	}
	next, leaf, err := f.batch(ctx, head.Size, x.store.db.MaxBatchCount(), x.store.db.MaxBatchSize(), x.places)
	if err != nil {
		if f.log.Minimum() > f.next { // pruned under the reading
			return true, nil
		}
		return false, err
	}
	pairs := f.pairs(next, leaf, x.store.version)
	x.store.version++
	f.advance(next)
	if err := x.settle(ctx); err != nil {
		return false, err
	}
	done, err := x.store.write(pairs)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errUnwritten, err)
	}
	x.pending = &pending{f.log.Origin(), f.view(), done}
	return next < head.Size, nil
}

// pending is a batch that is being written, while the next one is read.
type pending struct {
	origin string
	view   view // what is true once it is written
	done   <-chan error
}

// errUnwritten leaves followers ahead of the folder: it is opened again.
var errUnwritten = errors.New("a batch could not be written")

// settle waits for the batch that is being written.
func (x *Index) settle(ctx context.Context) error {
	p := x.pending
	if p == nil {
		return nil
	}
	x.pending = nil
	if err := x.await(ctx, p.done); err != nil {
		return fmt.Errorf("%w: %w", errUnwritten, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.views[p.origin] = p.view
	return nil
}

// await waits for a commit. Badger keeps a writer waiting while it cannot write a table, so the
// folder is looked at meanwhile.
func (x *Index) await(ctx context.Context, done <-chan error) error {
	tick := time.NewTicker(x.deps.Check)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if x.store.gone() {
				return errGone
			}
			x.hear()
		}
	}
}

// hear takes up what Badger complains of.
func (x *Index) hear() {
	if said := x.store.said.take(); said != "" {
		x.deps.Log.Warn("audit index: badger: " + strings.TrimSpace(said))
	}
}

func (x *Index) publish(f *follower) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.views[f.log.Origin()] = f.view()
}

var errNoRoom = errors.New("the disk is nearly full")

// room keeps Badger from a full disk, on which the kernel would end the process: it writes
// through mapped memory.
func (x *Index) room() error {
	free, err := x.deps.Free(x.deps.Dir)
	if err != nil && x.store != nil && x.store.gone() {
		return errGone
	}
	if err != nil {
		return err
	}
	if free >= x.deps.Reserve {
		return nil
	}
	return fmt.Errorf("%w: less than the %d MiB that it leaves free in %s; it goes on by itself when there is room",
		errNoRoom, x.deps.Reserve>>20, x.deps.Dir)
}

// check looks at the folder now and then: whether it is the one that was opened, and whole.
func (x *Index) check(ctx context.Context) error {
	x.mu.Lock()
	doubt := x.doubt
	x.doubt = nil
	x.mu.Unlock()
	if doubt != nil {
		return doubt
	}
	if now := time.Now(); now.Before(x.checkAt) {
		return nil
	} else {
		x.checkAt = now.Add(x.deps.Check)
	}
	if x.store.gone() {
		return errGone
	}
	if err := x.settle(ctx); err != nil {
		return err
	}
	x.hear()
	if err := x.store.missing(); err != nil {
		return err
	}
	if err := x.sweep(ctx); err != nil {
		return err
	}
	var err error
	if x.scrubbed, x.scrubBuf, err = x.store.verifyLive(x.scrubbed, x.scrubBuf); err != nil {
		return err
	}
	x.measure()
	return nil
}

func (x *Index) measure() {
	var disk, entries, unreadable int64
	for _, t := range x.store.db.Tables() {
		disk += int64(t.OnDiskSize)
	}
	for _, f := range x.followers {
		entries += max(0, f.next-f.log.Minimum())
		unreadable += f.unreadable
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stats.DiskBytes, x.stats.Entries, x.stats.Unreadable = disk, entries, unreadable
	if x.scrubbed != 0 {
		x.stats.Tables++
	}
}

// Stats are the figures as of the last look at the folder.
func (x *Index) Stats() Stats {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stats
}

// States says of each log how far the index is.
func (x *Index) States() []State {
	views := x.snapshot()
	var out []State
	for _, l := range x.deps.Logs() {
		head, _ := l.Head()
		s := State{Origin: l.Origin(), Minimum: l.Minimum(), Durable: head.Size}
		if v, ok := views[s.Origin]; ok {
			s.Indexed = min(v.indexed, s.Durable)
		}
		out = append(out, s)
	}
	return out
}
