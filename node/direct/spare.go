package direct

import (
	"errors"
	"os"
	"slices"

	"fire/policy"
	"fire/transport/shm"
)

// spare is the memory of a ring that nobody has yet. Making it takes the kernel a third of a
// millisecond per MiB, which the next publisher of the channel need not wait for. At most half
// of memory_max is kept so, and given up when a ring wants it.
type spare struct {
	data  *os.File
	pin   *shm.Pinned // nil: not locked
	lines uint64
	bytes int
}

// A smaller ring is made at once; of a larger one there is none to spare.
const (
	spareFrom = 256 << 10
	spareMost = 16 << 20
)

func (s *spare) fits(lines uint64) bool { return s != nil && s.lines == lines }

func linesOf(c policy.Channel) (lines uint64, bytes int) {
	lines = shm.LinesFor(int(c.Size))
	return lines, int(lines)*64 + 4096
}

// prepare begins to make one spare that is wanting. It is called with each tick.
func (b *Broker) prepare() {
	if !b.wanting || b.preparing || b.rules == nil {
		return
	}
	for name, c := range b.rules.Channels {
		lines, bytes := linesOf(c)
		if x := b.spares[name]; x != nil && !x.fits(lines) {
			b.drop(name)
		}
		if b.spares[name].fits(lines) || !b.publishedHere(c) || bytes < spareFrom || bytes > spareMost ||
			b.memory+bytes > b.cfg.MemoryMax/2 || roomFor(name, bytes) != nil {
			continue
		}
		b.preparing = true
		b.tails.Go(func() {
			f, err := shm.PrepareData(name, lines)
			x := &spare{data: f, lines: lines, bytes: bytes}
			var unlocked error
			if err == nil && b.cfg.Lock != LockOff {
				x.pin, unlocked = shm.Pin(f)
			}
			if !b.post(func() { b.prepared(name, x, err, unlocked) }) && err == nil {
				x.close()
			}
		})
		return
	}
	b.wanting = false
}

func (b *Broker) publishedHere(c policy.Channel) bool {
	return c.Kind != policy.RPC && slices.ContainsFunc(c.Publishers, func(service string) bool {
		_, known := b.deps.Programs[service]
		return known && b.rules.Placed(service, b.rules.Node)
	})
}

func (s *spare) close() {
	_ = s.pin.Close()
	_ = s.data.Close()
}

func (b *Broker) prepared(name string, s *spare, err, unlocked error) {
	b.preparing = false
	if unlocked != nil {
		b.notLocked(unlocked) // whoever gets it tries again, since "must" refuses
	}
	if err != nil {
		b.wanting = false // until the next publisher, or catalogue
		b.deps.Log.Debug("no ring to spare", "channel", name, "err", err)
		return
	}
	b.drop(name)
	b.spares[name] = s
	b.memory += s.bytes
}

// drop gives a spare up.
func (b *Broker) drop(name string) {
	if s := b.spares[name]; s != nil {
		b.memory -= s.bytes
		delete(b.spares, name)
		s.close()
	}
}

func (b *Broker) dropAll() {
	for name := range b.spares {
		b.drop(name)
	}
}

// dataOf is the memory of a new ring: the spare if there is one.
func (b *Broker) dataOf(s shm.Spec) (f *os.File, pin *shm.Pinned, err error) {
	b.wanting = true // the next one
	x := b.spares[s.Name]
	if !x.fits(s.Lines) {
		b.drop(s.Name)
		f, err = shm.CreateData(s)
	} else {
		b.memory -= x.bytes
		delete(b.spares, s.Name)
		f, pin, err = x.data, x.pin, shm.FillData(x.data, s)
	}
	if err == nil && pin == nil {
		pin, err = b.pin(f)
	}
	if err != nil {
		_ = pin.Close()
		return nil, nil, errors.Join(err, closeFile(f))
	}
	return f, pin, nil
}

// pin locks the memory of a ring as the configuration says.
func (b *Broker) pin(f *os.File) (*shm.Pinned, error) {
	if b.cfg.Lock == LockOff {
		return nil, nil
	}
	p, err := shm.Pin(f)
	if err == nil {
		return p, nil
	}
	if b.cfg.Lock == LockMust {
		return nil, err
	}
	b.notLocked(err)
	return nil, nil
}

// notLocked says once why.
func (b *Broker) notLocked(err error) {
	if !b.unlocked {
		b.unlocked = true
		b.deps.Log.Warn("rings are not locked in memory and may be swapped out", "err", err)
	}
}
