// Package direct owns the direct role of a host: it lets programs attach to channels, and
// governs what they hold, without being on their path.
//
//	program ── attach ──► serve ─► identify (kernel) ─┐        rules (catalogue)
//	                        │                         ▼            ▼
//	                        └── packets ──► loop: judge ─► trail ─► lanes, readings
//	                                          │  one owner          │
//	        gates ◄── revoked, closed, died ──┘                     ▼
//	 writer ═══════════════ ring ═══════════════ reader      tailing: digests, lag
//
// It refuses programs that it cannot name, to hand out anything before the trail has it, to
// carry a message, to make anybody wait for it, and to touch an end that a change does not
// concern.
//
// # Who a program is
//
// The kernel says user, process (SO_PEERCRED) and keeps hold of it (SO_PEERPIDFD); /proc says
// executable and unit, and is believed only while the pidfd says that the process lives.
// [program.NAME] of mesh.toml says which of these are service NAME. Then the floor decides:
// the service placed on this host and not revoked, the channel's lists, no deny rule between
// the pair, no operator's cut.
//
// # From attach to the first message
//
//	writer   attach ► welcome, lane(data, gate) ► maps ► mapped ► data is sealed
//	reader   attach ► welcome, lane(data, cursor, gate) ► maps ► mapped ► cursor is sealed
//	writer   reader(cursor) ► respects it ► added(position)
//	reader   start(position) ► polls
//
// The button of a doorbell goes the same way as the cursor, for a reader in a poll loop. It is
// looked at here: a writer that is handed what it refuses would pay for its reader's lie.
//
// An attach takes three times the cheapest round trip over such a socket with a look at who is
// there. The kernel needs 0.3 ms per MiB to make a ring: for each channel that is published
// here one of 256 KiB to 16 MiB is made ahead, and its writer does not wait for its pages.
//
// A first reader starts at 0: a lane without readers takes no more than it holds. A later one
// starts where the writer stood when it had come to respect it; one of a service whose reader
// of orders is gone takes that one's place, within the channel's keep.
//
// # Gates
//
// Each end of each lane has a gate of its own. A cut sets it, wakes who sleeps at it or rings
// its doorbell, and the end sees it with its next message or look; a writer that dies has its readers' gates set, once they are read
// they say so. A program that ignores its gate reads on what its mapping holds; its counterpart
// forgets it, and no process can take a mapping from another. So cut_grace after a cut the
// direct node looks through the processes of the host who has the ring mapped or open and may not,
// tells the trail and the map (held), and kills it where after_cut says "end" (held.go). A
// process is found by the memory's inode, so also one that was forked or was given the descriptor.
//
// # Invariants
//
//   - The loop owns everything; connections and tails only post to it. It never waits: a
//     packet that an end's socket does not take costs that end its attachment.
//   - Attached is in the trail before a descriptor leaves; so is each cut before its gate,
//     but for a full disk: then nobody attaches, cuts take effect all the same, and what
//     happened is kept and follows in order when there is room. What is too much to be kept
//     is counted there (omitted).
//   - A lane has one writer for its life. A new writer gets a new lane.
//   - Nothing is ever unblocked: a lane has one writer, and dies with it. What that had claimed and
//     not committed was never a message; readers get what is whole before it and then the end.
//     (Aeron's shared publications must be unblocked, since other writers wait behind the claim.)
//     What is counted is the deaths: died_total of fire channel ls, fire_direct_died_total.
//   - A reader of orders that is stopped and not dead is waited for, however long: its publisher
//     is told Full, at once and without waiting, no other lane stands, and when it goes on it has
//     lost nothing. It is given up only when its process or its connection ends, after keep. An
//     operator who does not want to wait cuts it.
//   - Nothing here is on the path: SIGSTOP or SIGKILL of this process stops no message.
//   - The package links no HTTP, no raft, no badger, no twin (a test).
//
// Lock order: none here.
//
// # Limits
//
// ends_max, ends_per_program_max, memory_max, and what the control group of the process leaves
// (the kernel would end it for more); 16 publishers and 16 subscribers per channel; 128
// connections that have not said what they want, 2 s to say it, and 2 s for a first catalogue;
// 256 held memories; 4,096 operator's cuts, which outlive the process; 1,024 events that wait
// for room on the disk. The memory of rings is locked as far as RLIMIT_MEMLOCK lets ([direct]
// lock), by this process for all that map it; cursors and gates, a page each, are not.
//
// What is weaker than it should be: of a reader that dies while no direct node runs only its
// writer has the cursor; what it had not read is counted after grace, without its name, when the
// writer is of the Go package, and by nobody when it is of another binding. A reader that
// was cut and lies sees on for cut_grace. The trail's oldest file goes when the ninth begins. The loop makes the memory of
// a ring above 16 MiB itself: one of 64 MiB holds everything else up for some 20 ms.
//
// Decisions: SO_PEERPIDFD and not the pid alone, since pids are reused. Users or units must
// be named, not executables alone: a user can run any executable and keep what it inherits.
// The outermost unit of the cgroup path, since deeper ones are named by whoever runs there.
// The audit tails the ring like any reader that nobody waits for, instead of sitting on the
// path: it says exactly what it came too late for. Its tails have no lower priority: with
// SCHED_IDLE the p99 of a lane is the same with the audit as without, where two cores carry
// three processes, but the audit comes too late for a third of the messages; as it is, p99 there
// is 1 to 9 % higher while all are digested. A host that cannot have that gives the direct
// node a core of its own. SCHED_BATCH may give both, and wants a thread for each lane. One
// goroutine per connection and not an event loop over sockets: there are hundreds, and attaching
// is rare.
package direct
