package direct

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"fire/policy/reason"

	"golang.org/x/sys/unix"
)

// A gate stops a reader that looks at it. One that does not reads on what its mapping holds for as
// long as the lane's writer writes, and no other process can take a mapping away. So some time
// after a cut the direct node looks who still holds the ring, by the kernel's word, tells it,
// and ends the process where it is told to (after_cut = "end").

// heldRing is a lane from which somebody was cut.
type heldRing struct {
	memory  inode
	lane    *lane
	channel string
	service string // that was cut
	due     time.Time
}

// heldRingsMax bounds the cuts that are looked after; of more the oldest are not.
const heldRingsMax = 1024

// lookAfterAll is lookAfter for all that an end reads.
func (b *Broker) lookAfterAll(p *peer) {
	for _, l := range p.in.lanes {
		for _, r := range l.readings {
			if r.reader == p {
				b.lookAfter(r, p.service)
			}
		}
	}
}

// lookAfter notes that a reading's end was cut, if its process can have mapped the ring.
func (b *Broker) lookAfter(r *reading, service string) {
	p := r.reader
	if p == nil || p.isFar() || p.process == nil || r.lane == nil || r.lane.writer == nil || r.lane.data == nil {
		return
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(r.lane.data.Fd()), &st); err != nil {
		return
	}
	if len(b.held) == heldRingsMax {
		b.deps.Log.Warn("so many ends were cut that not all are looked after", "channel", b.held[0].channel, "svc", b.held[0].service)
		b.held = slices.Delete(b.held, 0, 1)
	}
	b.held = append(b.held, heldRing{inode{st.Dev, st.Ino}, r.lane, r.lane.writer.in.name, service, b.deps.Now().Add(b.cfg.CutGrace)})
}

// watchHeld begins to look for those whose time is up. It is called with each tick.
func (b *Broker) watchHeld() {
	if len(b.held) == 0 || b.searching {
		return
	}
	now := b.deps.Now()
	var due []heldRing
	b.held = slices.DeleteFunc(b.held, func(h heldRing) bool {
		if now.Before(h.due) {
			return false
		}
		if h.lane.writer.in.lanes[h.lane.link] == h.lane { // else nothing new is written
			due = append(due, h)
		}
		return true
	})
	if len(due) == 0 {
		return
	}
	b.searching = true
	b.tails.Go(func() {
		wanted := map[inode]bool{}
		for _, h := range due {
			wanted[h.memory] = true
		}
		found, err := holdersOf("/proc", wanted)
		b.post(func() { b.foundHeld(due, found, err) })
	})
}

// foundHeld tells of every process that holds a ring and may not.
func (b *Broker) foundHeld(due []heldRing, found map[inode][]Holder, err error) {
	b.searching = false
	if err != nil {
		b.deps.Log.Error("nobody knows who still holds the rings that were cut", "err", err)
		return
	}
	for _, h := range due {
		for _, x := range found[h.memory] {
			if !b.mayHold(h.lane, x.PID) {
				b.tellHeld(h, x)
			}
		}
	}
}

// mayHold tells whether a process is an end of the lane now, or this one.
func (b *Broker) mayHold(l *lane, pid int) bool {
	if pid == os.Getpid() || l.writer.process != nil && l.writer.process.pid == pid {
		return true
	}
	for _, r := range l.readings {
		if r.reader != nil && r.reader.process != nil && r.reader.process.pid == pid {
			return true
		}
	}
	return false
}

func (b *Broker) tellHeld(h heldRing, x Holder) {
	b.count(h.channel, func(c *Counts) { c.Held++ })
	e := Event{Kind: Held, Channel: h.channel, Service: h.service, Link: h.lane.link, PID: x.PID, Executable: x.Command, Reason: reason.ChannelRevoked,
		Detail: fmt.Sprintf("process %d (%s) still has the ring %v after the cut, and sees what is written", x.PID, x.Command, b.cfg.CutGrace)}
	b.tell(e)
	b.deps.Log.Error("a process that was cut still holds the ring", "channel", h.channel, "svc", h.service, "pid", x.PID, "command", x.Command, "after_cut", b.cfg.AfterCut)
	if b.cfg.AfterCut != CutEnd {
		return
	}
	b.tails.Go(func() {
		err := endHolder("/proc", x.PID, h.memory)
		b.post(func() { b.endedHolder(e, err) })
	})
}

func (b *Broker) endedHolder(e Event, err error) {
	e.Kind, e.Detail = Ended, fmt.Sprintf("process %d was ended: it had kept the ring", e.PID)
	switch {
	case errors.Is(err, errLetGo):
		return // by itself, meanwhile
	case err != nil:
		e.Kind, e.Detail = Held, fmt.Sprintf("process %d cannot be ended: %v", e.PID, err)
	default:
		b.count(e.Channel, func(c *Counts) { c.Ended++ })
	}
	b.tell(e)
	b.deps.Log.Error("after a cut", "channel", e.Channel, "pid", e.PID, "err", e.Detail)
}

var errLetGo = errors.New("it holds the ring no more")

// endHolder kills a process that still holds the memory. The pidfd is opened first: what is looked at
// afterwards is the process that is killed, whatever becomes of its number.
func endHolder(proc string, pid int, memory inode) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return errLetGo
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !holds(filepath.Join(proc, strconv.Itoa(pid)), map[inode]bool{memory: true})[memory] {
		return errLetGo
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("%w; for programs of other users the direct node needs CAP_KILL", err)
	}
	return nil
}

// holdersOf looks through all processes for those that have one of the memories mapped or open.
func holdersOf(proc string, wanted map[inode]bool) (map[inode][]Holder, error) {
	dirs, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("processes of this host: %w", err)
	}
	out := map[inode][]Holder{}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join(proc, d.Name())
		for m := range holds(dir, wanted) {
			out[m] = append(out[m], Holder{pid, commandOf(dir)})
		}
	}
	return out, nil
}

// holds is which of the memories a process has mapped or open.
func holds(dir string, wanted map[inode]bool) map[inode]bool {
	var out map[inode]bool
	note := func(m inode) {
		if wanted[m] {
			if out == nil {
				out = map[inode]bool{}
			}
			out[m] = true
		}
	}
	_ = openMemories(dir, func(m inode, _, _ string) { note(m) }) // of a process that has ended, or is hidden, there are none
	f, err := os.Open(filepath.Join(dir, "maps"))
	if err != nil {
		return out
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if m, ok := mappedMemory(lines.Text()); ok {
			note(m)
		}
	}
	return out
}

// mappedMemory reads a line of /proc/PID/maps: range, rights, offset, device, inode, name.
func mappedMemory(line string) (m inode, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || !strings.HasPrefix(f[5], memfdPrefix) {
		return m, false
	}
	major, minor, ok := strings.Cut(f[3], ":")
	hi, err := strconv.ParseUint(major, 16, 32)
	lo, lerr := strconv.ParseUint(minor, 16, 32)
	ino, ierr := strconv.ParseUint(f[4], 10, 64)
	if !ok || errors.Join(err, lerr, ierr) != nil {
		return m, false
	}
	return inode{unix.Mkdev(uint32(hi), uint32(lo)), ino}, true
}
