package audit

import (
	"fmt"
	"time"

	"fire/audit/tlog"
)

// commit makes one group durable, however long it takes, and lets those know who wait for it.
// When stop is closed it gives up on a disk that takes nothing.
func (l *Log) commit(g *work, stop <-chan struct{}) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		l.State.busy.Store(l.deps.Now().UnixNano())
		err := l.write(g)
		l.State.busy.Store(0)
		if err == nil {
			l.publish(g)
			return
		}
		l.State.failed(err, l.deps.Now())
		l.complain("origin", l.origin, "entries", len(g.leaves), "from", g.before.Size(), "err", err)
		wait.Reset(retryEvery)
		select {
		case <-wait.C:
		case <-stop:
			g.fail(fmt.Errorf("audit: not durable: %w", err))
			return
		}
	}
}

// complain tells of a disk that takes nothing, when that begins and once in a while.
func (l *Log) complain(what ...any) {
	if now := l.deps.Now(); now.Sub(l.complained) >= complainEvery || now.Before(l.complained) {
		l.complained = now
		l.deps.Log.Error("the audit log takes nothing, and is tried again", what...)
	}
}

const complainEvery = time.Minute

// retryEvery is how long the committer waits after a failure, each of which ends a segment.
const retryEvery = 250 * time.Millisecond

// write puts the group into the newest segment, or into a new one. After an error that segment
// is never written to again: what the kernel has of it, and whether a second sync would tell the
// truth, nobody knows.
func (l *Log) write(g *work) error {
	p := l.current
	if p != nil && l.used+int64(len(g.buf)) > l.cfg.SegmentBytes {
		l.seal()
		p = nil
	}
	if p == nil {
		var err error
		if p, err = l.newSegment(&g.before, int64(len(g.buf))); err != nil {
			return err
		}
		l.current, l.used = p, headerBytes
	}
	g.at = l.used
	_, err := p.file.WriteAt(g.buf, g.at)
	if err == nil {
		err = p.file.Sync()
	}
	if err != nil {
		l.abandon()
		return fmt.Errorf("audit: %s: %w", p.name, err)
	}
	l.used += int64(len(g.buf))
	return nil
}

// newSegment makes the file in which a group begins.
func (l *Log) newSegment(before *tlog.Frontier, least int64) (*segment, error) {
	l.number++
	s := &segment{name: segmentName(before.Size(), l.number), number: l.number, before: *before}
	size := max(l.cfg.SegmentBytes, headerBytes+least)
	h := header{number: l.number, created: l.deps.Now().UnixNano(), origin: l.origin, vkeys: l.keys.Load().inUse(), before: *before}
	file, name, err := l.spare.take(size)
	if err != nil {
		return nil, fmt.Errorf("audit: a new segment: %w", err)
	}
	if _, err = file.WriteAt(h.append(nil), 0); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = l.deps.Disk.Rename(name, s.name)
	}
	if err != nil {
		_, _ = file.Close(), l.deps.Disk.Remove(name) // what went wrong is said already; the next start removes it
		return nil, fmt.Errorf("audit: a new segment: %w", err)
	}
	s.file = file
	s.users.Store(1)
	l.mu.Lock()
	l.parts = append(l.parts, part{segment: s, end: headerBytes})
	l.mu.Unlock()
	l.spare.wanted()
	return s, nil
}

// seal lets the hashes of the newest segment go to its .tree file.
func (l *Log) seal() {
	select {
	case l.sealed <- l.current:
	default: // the next start, or verify, makes it
	}
	l.current = nil
}

// abandon seals a segment that has failed. What of the group it holds is not the log's: the group
// comes again, with the same entries, at the start of the next.
func (l *Log) abandon() {
	l.mu.Lock()
	empty := l.parts[len(l.parts)-1].count == 0
	if empty {
		l.parts = l.parts[:len(l.parts)-1]
	}
	l.mu.Unlock()
	if empty {
		l.current.drop()
		l.current = nil
		return
	}
	l.seal()
}

// publish lets everybody see a group that is durable.
func (l *Log) publish(g *work) {
	l.mu.Lock()
	l.parts[len(l.parts)-1].add(g)
	l.head, l.note = g.head, g.checkpoint
	l.mu.Unlock()
	l.State.Durable.Store(g.head.Size)
	l.State.Groups.Add(1)
	l.State.gaps.Add(g.gaps)
	l.State.signed.Store(g.signed)
	l.State.Bytes.Add(uint64(len(g.buf)))
	l.State.stalled.Store(0)
	l.State.trouble.Store(nil)
	l.complained = time.Time{}
	if err := l.away.put(g.head, g.checkpoint); err != nil {
		l.State.failed(fmt.Errorf("the head that lies away: %w", err), l.deps.Now())
	}
	at, entered := g.before.Size(), g.records
	for _, q := range g.queued {
		entered += uint64(len(q.offsets))
		q.finish(at, nil)
		at += int64(len(q.offsets))
		l.inbox.reuse(q)
	}
	l.State.entered.Add(entered)
}
