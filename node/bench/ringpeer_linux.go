//go:build amd64 || arm64

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

// Types of the messages of a measurement.
const (
	msgEcho  = 1 + iota // come back as they are
	msgTake             // are counted
	msgTimed            // carry the ticks at which they were due
	msgStop             // ends the serving
)

// peerCount is what the peer has seen between serve and msgStop.
type peerCount struct {
	Messages uint64 `json:"messages"`
	Lost     uint64 `json:"lost"`
	threadCounts
	Latency sentNanos `json:"latency"`

	// Of the gc row.
	During sentNanos `json:"during,omitzero"` // messages that a collection has overlapped
	Took   []int64   `json:"took,omitempty"`  // of each collection, ns
	Worst  []int64   `json:"worst,omitempty"` // message of each
}

var errGone = errors.New("the other process is gone")

// sentNanos is a histogram on its way to the other process.
type sentNanos struct {
	Buckets map[int]uint64 `json:"buckets"` // of nanos, those that are not empty
	Sum     uint64         `json:"sum"`
	Max     uint64         `json:"max"`
}

// RingPeer is the other process of RunRing: it maps the inherited memories, runs on
// core, and does what it is told on in until that or ctx ends.
func RingPeer(ctx context.Context, in io.Reader, out io.Writer, core string) error {
	return ringPeer(ctx, in, out, core, nil)
}

func ringPeer(ctx context.Context, in io.Reader, out io.Writer, core string, own func() uint64) error {
	n, err := strconv.Atoi(core)
	if err != nil {
		return fmt.Errorf("core %q is no number", core)
	}
	p, err := openPeer()
	if err != nil {
		return fmt.Errorf("the ring's memories are not there; `fire bench ring` starts this with them: %w", err)
	}
	p.own = own
	lines := bufio.NewReader(in)
	said := func(want string) error {
		got, err := lines.ReadString('\n')
		if strings.TrimSpace(got) != want {
			return fmt.Errorf("%q where %q was due: %w", got, want, err)
		}
		return nil
	}
	fmt.Fprintln(out, "mapped")
	if err := said("sealed"); err != nil {
		return err
	}
	if _, err := p.back.AddReader(os.NewFile(fdBackCursor, "back cursor")); err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	defer context.AfterFunc(ctx, func() { p.gone.Store(true) })()
	if f, ok := in.(*os.File); ok {
		stop := make(chan struct{})
		defer close(stop)
		go p.watch(int(f.Fd()), stop)
	}
	done := make(chan error, 1)
	go func() { done <- p.obey(n, lines, out) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done(): // a read of commands cannot be ended: the process ends with this
		return ctx.Err()
	}
}

// watch notes that whoever gives commands is gone: a peer that spins for a message would do
// so for ever, and keep a core.
func (p *peerSide) watch(fd int, stop <-chan struct{}) {
	for {
		fds := []unix.PollFd{{Fd: int32(fd)}} // hang-ups alone
		if n, err := unix.Poll(fds, int(watchEvery/time.Millisecond)); n > 0 || err != nil && err != unix.EINTR {
			p.gone.Store(true)
			return
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

const watchEvery = 200 * time.Millisecond

// peerSide is the peer's end of a ringWorld.
type peerSide struct {
	there, bulk, feed *shm.Reader
	back              *shm.Writer
	word              *wordPage
	tickNS            float64
	hist              nanos
	calls             *callCounter
	collector         *collector // of the gc row
	gone              atomic.Bool
	during            nanos
	own               func() uint64 // of a test: see callCounter
}

func openPeer() (*peerSide, error) {
	file := func(fd int) *os.File { return os.NewFile(uintptr(fd), "descriptor "+strconv.Itoa(fd)) }
	gate := file(fdGate)
	p := &peerSide{tickNS: tickRate()}
	var errs [5]error
	p.there, errs[0] = shm.OpenReader(file(fdThere), file(fdThereCursor), gate)
	p.back, errs[1] = shm.OpenWriter(file(fdBack), gate)
	p.feed, errs[2] = shm.OpenReader(file(fdFeed), file(fdFeedCursor), gate)
	p.word, errs[3] = openWord(file(fdWord))
	p.bulk, errs[4] = shm.OpenReader(file(fdBulk), file(fdBulkCursor), gate)
	return p, errors.Join(errs[:]...)
}

func (p *peerSide) obey(core int, lines *bufio.Reader, out io.Writer) error {
	if err := pin(core); err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	p.calls = newCallCounter(p.own)
	defer p.calls.close()
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var count peerCount
		switch line = strings.TrimSpace(line); line {
		case "bounce":
			p.word.bounce(&p.gone)
		case "lane":
			count, err = p.serve(p.there)
		case "bulk":
			count, err = p.serve(p.bulk)
		case "collector on":
			debug.SetGCPercent(collectorPercent)
		case "feed":
			count, err = p.serve(p.feed)
		default:
			count, err = p.collected(line)
		}
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(count); err != nil {
			return err
		}
	}
}

// collected serves the lane with collections forced.
func (p *peerSide) collected(line string) (peerCount, error) {
	text, ok := strings.CutPrefix(line, "gc ")
	every, err := time.ParseDuration(text)
	if !ok || err != nil || every <= 0 {
		return peerCount{}, fmt.Errorf("%q is no command", line)
	}
	p.collector, p.during = startCollector(every), nanos{}
	count, err := p.serve(p.there)
	count.Took, count.Worst = p.collector.end(p.tickNS)
	p.collector = nil
	count.During = p.during.sent()
	return count, err
}

// serve takes messages until msgStop. Per message it makes no system call.
func (p *peerSide) serve(r *shm.Reader) (peerCount, error) {
	p.hist = nanos{}
	runtime.GC()
	var c peerCount
	stop := false
	each := func(typ uint16, b []byte) {
		switch typ {
		case msgEcho:
			for p.back.Offer(msgEcho, b) != shm.Sent {
			}
		case msgTimed:
			ns := int64(float64(ticks()-leUint64(b)) * p.tickNS)
			p.hist.record(ns)
			if c := p.collector; c != nil && (c.overlaps(ns) || len(b) > 8 && b[8] != 0) {
				p.during.record(ns)
			}
		case msgStop:
			stop = true
			return
		}
		c.Messages++
	}
	before := p.calls.begin()
	for !stop {
		if p.gone.Load() {
			return c, errGone
		}
		_, gap, err := r.Poll(256, each)
		if err != nil {
			return c, err
		}
		if gap != (shm.Gap{}) {
			c.Lost += gap.Last - gap.First + 1
		}
	}
	c.threadCounts = p.calls.since(before)
	c.Latency = p.hist.sent()
	return c, nil
}

func (h *nanos) sent() sentNanos {
	s := sentNanos{map[int]uint64{}, h.sum, h.max}
	for i, n := range h.bucket {
		if n > 0 {
			s.Buckets[i] = n
		}
	}
	return s
}

// histogram is the peer's, rebuilt.
func histogram(s sentNanos) (h nanos) {
	for i, n := range s.Buckets {
		if i >= 0 && i < len(h.bucket) {
			h.bucket[i] = n
			h.count += n
		}
	}
	h.sum, h.max = s.Sum, s.Max
	return h
}
