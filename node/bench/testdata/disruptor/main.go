// Disruptor is the rival of `fire bench ring --disruptor`: go-disruptor within one process,
// measured as fire's rings are between two. It speaks the protocol of rival_linux.go on its
// standard input and output.
//
//	go build -o /tmp/disruptor . && fire bench ring --disruptor /tmp/disruptor
//
// One writer and one handler, each on a thread of its own, one Reserve and Commit for each
// message. Nobody sleeps: all of the wait strategy is to look again. Between rows the
// handler blocks.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/smarty/go-disruptor"
)

const ringBytes = 256 << 10 // as fire's

// spin is the wait strategy.
type spin struct{}

func (spin) Gate(int64)    {}
func (spin) Idle(int64)    {}
func (spin) Reserve(int64) {}

// What a message is, in its first 8 bytes.
const (
	take = 1 + iota
	stop
)

// counted is what the handler has seen up to a stop.
type counted struct {
	messages uint64
	took     time.Duration
}

// message is an entry of a ring.
type message interface {
	[32]byte | [64]byte | [1024]byte
}

// pair is a ring with its writer's and its handler's side. Each row has a new one.
type pair[M message] struct {
	ring []M
	mask int64
	d    disruptor.Disruptor

	counted
	start  time.Time
	sum    uint64
	result chan counted
}

// Handle is the reader's side.
func (p *pair[M]) Handle(lower, upper int64) {
	for s := lower; s <= upper; s++ {
		m := &p.ring[s&p.mask]
		if (*m)[0] == stop {
			p.took = time.Since(p.start)
			p.result <- p.counted
			return
		}
		p.messages++
		p.sum += uint64((*m)[8])
	}
}

func (p *pair[M]) send(m *M) {
	s := p.d.Reserve(1)
	p.ring[s&p.mask] = *m
	p.d.Commit(s, s)
}

// measure writes for d, to the handler on another thread, and returns what that has counted.
func measure[M message](d time.Duration, handle chan<- disruptor.Disruptor) (counted, error) {
	var m M
	n := ringBytes / len(m)
	p := &pair[M]{ring: make([]M, n), mask: int64(n - 1), result: make(chan counted, 1)}
	var err error
	p.d, err = disruptor.New(disruptor.Options.BufferCapacity(uint32(n)), disruptor.Options.WriterCount(1),
		disruptor.Options.WaitStrategy(spin{}), disruptor.Options.NewHandlerGroup(p))
	if err != nil {
		return counted{}, err
	}
	m[0] = take
	for i := range p.ring { // so that no page is touched for the first time below
		p.ring[i] = m
	}
	runtime.GC()
	p.start = time.Now()
	handle <- p.d
	sent := uint64(0)
	for end := p.start.Add(d); time.Now().Before(end); {
		for range 256 {
			p.send(&m)
			sent++
		}
	}
	m[0] = stop
	p.send(&m)
	c := <-p.result
	if c.messages != sent {
		err = fmt.Errorf("the handler has seen %d of %d messages", c.messages, sent)
	}
	return c, errors.Join(err, p.d.Close()) // which ends Listen
}

func run() error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	handle, thread := make(chan disruptor.Disruptor), make(chan int)
	go func() { // ends with the process
		runtime.LockOSThread()
		thread <- syscall.Gettid()
		for d := range handle {
			d.Listen()
		}
	}()
	fmt.Printf(`{"version":%q,"settings":"one process, one writer, one handler, Reserve(1), ring of %d KiB, spinning",`+
		`"threads":[%d,%d],"rows":["throughput 32","throughput 64","throughput 1024"]}`+"\n",
		version(), ringBytes>>10, syscall.Gettid(), <-thread)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var table string
		var size int
		var d time.Duration
		var rate uint64
		if _, err := fmt.Sscan(in.Text(), &table, &size, &d, &rate); err != nil {
			return fmt.Errorf("%q: %w", in.Text(), err)
		}
		if table == "warm_up" {
			size, d = 64, 100*time.Millisecond
		}
		var c counted
		var err error
		switch size {
		case 32:
			c, err = measure[[32]byte](d, handle)
		case 64:
			c, err = measure[[64]byte](d, handle)
		case 1024:
			c, err = measure[[1024]byte](d, handle)
		default:
			err = fmt.Errorf("%d bytes were not offered", size)
		}
		if err != nil {
			return err
		}
		fmt.Printf(`{"messages":%d,"took_ns":%d,"latency_ns":{}}`+"\n", c.messages, c.took)
	}
	return nil
}

// version is the library's, as it was built in.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if strings.HasSuffix(m.Path, "/go-disruptor") {
				return m.Version
			}
		}
	}
	return "unknown"
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
