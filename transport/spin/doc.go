// Package spin keeps a process awake for a moment when the next message is near.
//
// A message that finds a process asleep pays for its waking: the sender's kernel must
// interrupt an idle core, on a virtual machine through the hypervisor, which costs
// both of them more than all that a proxy does with the message. Spinner looks at the
// sockets itself for a short while before the process sleeps.
//
//	reader:  read ► Moved(kind) ► forward ► wait in Go's poller
//	                   │                        ▲
//	                   ▼                        │ hit: Spinner parks, Go's poller is
//	Spinner: parked ► runs when nobody else  ───┤      asked at once and finds the reader
//	                  does: look, yield, look   │ miss: Spinner parks, the process sleeps
//
// It owns one epoll set, beside Go's, that nobody ever waits in: it is only asked. It
// refuses to read, to wake a reader and to own a socket, so what it does wrong costs
// time, never a byte. A nil *Spinner does nothing.
//
// # How long
//
// A window per kind of the last message, since what follows a request (its answer) is
// near and what follows an answer may be far. A gap that the window missed and that is
// within the limit opens the window to twice the gap; one beyond the limit halves it.
// So a kind whose gaps are always long costs nothing, and the time lost for one short
// gap is at most twice the limit. KVM decides alike how long an idle guest
// polls (Documentation/virt/kvm/halt-polling.rst).
//
// # When not
//
// Where cores are scarce a look takes from the applications what it saves here. That
// cannot be told from outside: another Spinner's look is load, too. So both ways are
// tried all the time, and the one after which messages come sooner is taken (trial.go).
//
// With several of Go's processors in use, an idle one sleeps in Go's poller and is
// woken whatever Spinner does. So it looks only while it is Allowed, which
// node/processors.go says while one is in use. Between two looks it yields twice: to
// the process's goroutines, and to the core's other processes. Without the latter,
// ping-pong through two proxies on two cores is slower than without looking.
//
// # Invariants
//
//   - A look never blocks, and a window ends by the clock: goroutines that wait in Go's
//     poller for something that is not watched are late by one window at most.
//   - A socket that is closed leaves the set by itself (epoll(7)).
//   - Moved allocates nothing and reads no clock.
//
// Limits: one kind is a whole side, not a connection: where one flow's answers come
// soon and another's late, both share a window and a trial.
//
// Decisions: a set of its own and not Go's, which the runtime does not show. Not reading
// the sockets while looking: with an epoll set one look costs one call for any number
// of sockets. Not SO_BUSY_POLL, which asks a network card's queue and does nothing on
// loopback. Not a share of /proc/stat's idle time as the sign of spare cores: two
// proxies that look leave none. Not the length of a yield: it tells of programs that
// compute, and not that four processes pass messages on one core.
package spin
