// Package clock owns the evidence of the host's clock: how far each stamp may be off, who says
// so, when it was off by more than it may, and when it jumped.
//
//	ptp4l ──► ask ─┐                          ┌─► Stamp, Bound: whoever writes an entry
//	chronyd ► ask ─┤ last words               │
//	                ▼                         │
//	kernel ─────► sampler ─ one estimate ─────┤ (an atomic pointer)
//	five clocks ──┘   every 100 ms            └─► journal: entries Clock, Drift, Step ─► Append
//
//	                            journal of a day ─► Report ─► Day: text or JSON
//
// It refuses to set a clock, to run anybody's program, and to call a clock good of which nobody
// says so: without a word it is unknown, and unknown counts as a breach.
//
// # What is measured
//
//   - chronyd (its command protocol, candm.h): |offset| + root dispersion + root delay / 2, what its
//     manual calls an absolute bound, growing by skew, residual frequency and the wander of the
//     configuration. A chronyd that follows itself (local stratum) counts as unsynchronised.
//   - ptp4l (its management socket): |offset from its master| + the mean path delay + what the
//     grandmaster says of its own accuracy; unknown where that one says nothing, unsynchronised
//     where it is locked to nobody (clock class other than 6 and 7). With a hardware clock the host's clock is
//     measured against it (PTP_SYS_OFFSET_EXTENDED, the quickest of eight readings), since ptp4l
//     speaks of the device alone. How fast the two part from one question to the next is added to
//     the growth: nothing tells whether somebody (phc2sys) steers the host by it. What boundary clocks on
//     the way add is not seen.
//   - the kernel (adjtimex): |offset| + maxerror while it calls itself synchronised. It is as good as
//     who feeds it: phc2sys writes a maxerror of 0 each second.
//
// The first in this order that is synchronised with a known bound counts.
//
// # Steps
//
// CLOCK_REALTIME and CLOCK_BOOTTIME are steered alike and both go on while the host sleeps, so
// any difference between how far they went was made by setting the clock. A leap second is told by the
// change of TAI's distance with it, sleep by BOOTTIME against MONOTONIC, steering faster than a
// clock drifts by MONOTONIC against MONOTONIC_RAW. After a step the word of whoever has not
// measured since is worth less by its size. A stamp between the step and the sample that finds it
// notices it itself (wall against monotonic clock, both read by one call) and has an unknown bound.
//
// # Invariants
//
//   - A stamp takes one reading of the clock, one atomic load, no lock and no allocation.
//   - A bound is never smaller than what its source says and what may have drifted since.
//   - Each entry of kind Clock says the worst bound of any stamp since the one before, so between
//     two nothing is hidden; a source that stops ages by its drift, and after 5 s no longer counts;
//     a sampler that stops leaves stamps with an unknown bound after 10 s.
//   - The journal is written by one goroutine, in order, with a count of its own.
//   - What a daemon sends is taken only in full, of the size and sequence that was asked for.
//
// Lock order: none here. Two goroutines ask, one samples; they share atomic pointers.
//
// Limits: bounds above 4.29 s are unknown (32 bits of an entry); 4 ways to each daemon, 200 ms
// each; a step of less than the configured 1 ms is not an entry. Report keeps 10,000 of each list.
//
// # Decisions
//
//   - BOOTTIME and not MONOTONIC_RAW to find steps: against RAW a slew looks like a step, and chronyd
//     slews by up to 8 %.
//   - A fixed order of sources and not the smallest bound: two that are about as good would take
//     turns, and each turn is an entry.
//   - The protocols by hand and not facebook/time: four packets that are read, against a library that
//     brings its daemon; parsing is pure and fuzzed.
//   - A breach ends when the bound stayed within for a while (settle), and its end is then dated back:
//     a clock at the edge makes no more than one pair of entries in that time.
//   - The worst bound is a word in Detail and no field: tags are few and this is read by Report alone.
package clock
