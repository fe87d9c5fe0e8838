// Package bench measures what a path between two programs costs: a fire proxy pair,
// plain TCP and any rival beside it, in the same run.
//
//	                      ┌─────────── direct ────────────┐
//	generator (this       ├─► fire: proxy ═QUIC═ proxy ───┤─► echo server
//	process), intended    └─► rival: any host:port ───────┘   (own process)
//	send times                                                    │
//	        ▲──────────────────── same bytes back ────────────────┘
//
// It owns the load generator, the echo server, the result and nothing that is
// measured: node hands in how to start a pair (Pair), rivals are addresses of
// programs that somebody else has started and that lead to the same echo server. It
// refuses to draw: node/cli prints Result as a table or as JSON (Schema).
//
// RunRing is the other measurement: the shared-memory ring between two pinned processes,
// beside the bare word that the two hand to and fro (ring.go says what each row is). Both
// spin: a waiting process would be measured with the scheduler. Times are taken from the
// time stamp counter, which costs 14 ns where a look at the clock costs 50.
//
// Rivals of the ring are programs of their own that speak lines of JSON (rival_linux.go):
//
//	aeron         AeronRival.java, compiled for the run against the user's jar: IPC between
//	              two processes, exclusive publication, tryClaim
//	go-disruptor  testdata/disruptor, a module of its own: within one process, Reserve(1)
//
// Each row is measured by all directly after each other, on the same two cores, for the
// same time, in turning order; between its rows a rival blocks. A rival is set to be at
// its best: warmed up, spinning, its fastest buffers, and no third thread that spins where
// no third core is. The ratio of a round is of neighbours in time; the middle one is
// quoted with the least and the most. A rival that is absent, hangs, or says what cannot
// be is shown as not run, with the reason, and has no ratio.
//
// # Two tables
//
//	ping_pong   one connection, one message on its way at a time: the latency of an
//	            idle path
//	fixed_rate  messages at a fixed rate over some connections, open loop: message k is
//	            due at start + k/rate whatever happened to those before it, and its
//	            latency counts from THAT moment. A stall is so seen by every message
//	            that fell due in it (no coordinated omission). A message that is never
//	            answered enters as long as it was waited for, and is counted.
//
// How late the generator itself wakes is part of every fixed_rate latency, the same
// for all paths, and is shown beside them (send_late).
//
// Rounds are interleaved, and the order of paths turns with the round: what disturbs
// the machine disturbs all alike. So differences and ratios of one run mean
// something; a figure by itself is as good as the machine was quiet.
//
// # What a figure is
//
// Latencies go through transport/meter's histogram: quantiles are nearest rank and
// within 1/128 (0.79 %) of the sample; max is exact. CPU per message is the
// processor time of the path's own processes (CLOCK_PROCESS_CPUTIME_ID of each,
// which is the clock behind getrusage, and unlike getrusage can be read of any
// process) over all messages of the measurement, warm-up included. The ends,
// generator and echo server, are shown apart. Where the path's processes are not
// known, no figure is given.
//
// A row of RunRing or RunUDP carries its distribution as buckets (128 for each doubling), as
// HdrHistogram's own form, and, asked for, as a file for its plotter. Calls and mallocs are of
// both processes over all messages of the row, warm-up included (counted_messages_total).
//
// The measuring processes have the garbage collector off, which collections_total shows; the gc
// row has it on and forced. What a hot loop does to it is a test's: with the collector on,
// TestMessagesAllocateNothingHoweverLong wants no malloc of the program's in FIRE_GC_MINUTES
// minutes; the runtime makes an object or so for its own goroutines when it collects.
//
// # Invariants
//
//   - Every echoed message is compared with what was sent: a wrong byte in its number
//     ends the run as an error.
//   - A goroutine of a measurement has ended when the measurement returns; a child
//     process has ended when Close returns.
//   - No path is warmer than another: each measurement dials new connections and
//     drops its first Warmup.
//
// Limits: 4096 connections, 1 MiB messages, 64 paths; a measurement's messages fit
// the rate and round time; one message is waited for at most AnswerTimeout.
//
// Linux 5.11 only for its clock (epoll_pwait2: Go's own timers wake up to a
// millisecond late) and processor times; elsewhere New says so.
//
// Decision: one locked thread and calls that Go's scheduler is not told of, instead of
// Go's poller or a thread per connection. A wake through the poller adds some ten
// microseconds of the generator to every path and hides what is looked for; a thread
// per connection wakes the runtime's monitor thread at each message, and on a small
// machine both take the processor that the path needs: with them the added p50 of a
// proxy pair at 2,000 messages/s was up to twice what one thread sees. Decision: no
// spinning, for the same reason.
//
// Decision: where there are four processors or fewer, Aeron's driver is invoked by the
// publisher. Its own threads were tried on two cores: one that parks for 0.1 ms makes room
// too seldom (0.2 instead of 20 million messages/s with small buffers), one that yields
// takes a core from those that are measured. Decision: go-disruptor in a module of its
// own, started by path; as a dependency of the test alone it would still be in go.mod.
//
// Decision: throughput rows may have larger rings (BulkLines) and have not. On two shared cores
// 4 MiB was tried beside 256 KiB in 30 turns: 0.69 times the messages of 64 B (the middle turn, and
// more in 13 of 30), 0.74 of 1 KiB, as many in the broadcast, from 0 to 34 times in single turns.
// A row says what its ring is (ring_bytes).
package bench
