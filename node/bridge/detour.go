package bridge

import "time"

// detour is a lane's way over the session's stream while no datagram gets through. Beside
// what the stream carries, a copy goes by UDP now and then, and both ends look whether such
// copies come: when they do at both, for long enough, the lane goes back.
//
//	A ── stream: everything ──► B        A: "clear" (copies come here)
//	  ── UDP: a copy, each probeEvery ►  B: they come here, too: goes back, "clear, back"; or silence
//
// Only a datagram that its stream's copy has not overtaken is counted, so one that
// somebody plays again says nothing. One goroutine has it.
type detour struct {
	on      bool
	probeAt int64 // when the next copy is due
	pause   int64 // until then, doubled while nothing comes back
	copying bool  // of the datagram that is being sent
	firstAt int64 // since when copies have come without a break; 0: none has
	lastAt  int64
	saidAt  int64 // that they come
	overAt  int64 // when it last went back
	hold    int64 // how long they must come
}

const (
	// Copies go often while the other end's come, else ever more rarely: the address is what the
	// other host says, and may be somebody else's.
	probeEvery = int64(100 * time.Millisecond)
	probeMost  = int64(2 * time.Second)
	probeBreak = int64(time.Second) // between two copies: they do not come any more
	clearEvery = int64(time.Second)
	// A path that breaks again soon after it was taken again is tried ever more rarely: each
	// try costs the lane blockedAfter without datagrams.
	holdMin  = int64(time.Second)
	holdMost = int64(time.Minute)
)

// begin leaves the datagrams' way; false: it had done so.
func (d *detour) begin(now int64) bool {
	if d.on {
		return false
	}
	hold := holdMin
	if d.overAt != 0 && now-d.overAt < 2*holdMost {
		hold = min(2*d.hold, holdMost)
	}
	*d = detour{on: true, hold: hold, overAt: d.overAt}
	return true
}

// probe tells whether a copy of what the stream carries is to go by UDP.
func (d *detour) probe(now int64) bool {
	if now < d.probeAt {
		return false
	}
	if d.pause = min(max(2*d.pause, probeEvery), probeMost); now-d.lastAt <= probeBreak {
		d.pause = probeEvery
	}
	d.probeAt = now + d.pause
	return true
}

// copies is probe for a datagram that goes to each line in turn, from 0 on: all or none.
func (d *detour) copies(now int64, line int) bool {
	if line == 0 {
		d.copying = d.probe(now)
	}
	return d.copying
}

// saw notes that a copy came by UDP before the stream's.
func (d *detour) saw(now int64) {
	if d.firstAt == 0 || now-d.lastAt > probeBreak {
		d.firstAt, d.probeAt = now, now
	}
	d.lastAt = now
}

// clear tells whether copies have come for long enough.
func (d *detour) clear(now int64) bool {
	return d.on && d.firstAt != 0 && now-d.lastAt <= probeBreak && now-d.firstAt >= d.hold
}

// ask tells whether the other end is to be told that copies come.
func (d *detour) ask(now int64) bool {
	if !d.clear(now) || now-d.saidAt < clearEvery {
		return false
	}
	d.saidAt = now
	return true
}

// agree takes the other end's word that copies come there. Over says that the lane goes
// back. What asks is answered by an end that goes back, or has done so: the other one
// may have missed it.
func (d *detour) agree(now int64, c *clearing) (over, answer bool) {
	if d.on && !d.clear(now) {
		return false, false
	}
	if over = d.on; over {
		d.on, d.overAt = false, now
	}
	return over, !c.Back
}
