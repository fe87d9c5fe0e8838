package entry

// Kind is what happened.
type Kind uint8

// The kinds. A number is never used again for something else.
const (
	Message Kind = 1 // of a service's traffic, at one hop, with its digest
	Part    Kind = 2 // more of a message's content than its own entry can hold
	Span    Kind = 3 // messages of a direct path, under one chain of digests
	Gap     Kind = 4 // messages that went on without an entry: how many, and why
	Request Kind = 5 // of HTTP, with its answer's status

	Opened  Kind = 10 // a connection, or an end of a direct path
	Closed  Kind = 11
	Refused Kind = 12 // with its reason
	Path    Kind = 13 // something else on a direct path: paired, adopted, lost, held, ended

	Policy      Kind = 20 // rules in force changed
	Config      Kind = 21 // of this process
	Floor       Kind = 22 // the catalogue in force changed
	Certificate Kind = 23 // issued, renewed, revoked, a root rotated
	Failover    Kind = 24
	Kill        Kind = 25 // a kill switch was thrown, or put back
	Admin       Kind = 26 // somebody asked something of the admin interface
	Login       Kind = 27

	Clock Kind = 30 // a sample of the clock's journal
	Step  Kind = 31 // the clock jumped
	Drift Kind = 32 // the clock's bound passed, or came back within, what its duty allows

	Log      Kind = 40 // of the log itself: begun, opened, cut after a crash, sealed, a key rotated
	Pruned   Kind = 41
	Hold     Kind = 42 // a legal hold was set, or lifted
	Erased   Kind = 43 // a subject's key was destroyed
	Scrubbed Kind = 44 // the log was read again, with what came of it
	Evidence Kind = 45 // somebody showed a head that cannot be
	Exported Kind = 46
	Mirrored Kind = 47 // another log was taken over up to a size
)

var kindNames = [...]string{
	Message: "message", Part: "part", Span: "span", Gap: "gap", Request: "request",
	Opened: "opened", Closed: "closed", Refused: "refused", Path: "path",
	Policy: "policy", Config: "config", Floor: "floor", Certificate: "certificate", Failover: "failover", Kill: "kill", Admin: "admin", Login: "login",
	Clock: "clock", Step: "step", Drift: "drift",
	Log: "log", Pruned: "pruned", Hold: "hold", Erased: "erased", Scrubbed: "scrubbed", Evidence: "evidence", Exported: "exported", Mirrored: "mirrored",
}

// String is the kind's name, "kind_N" for one of a later version.
func (k Kind) String() string { return nameOf(kindNames[:], int(k), "kind") }

// KindOf is the kind of a name.
func KindOf(name string) (Kind, bool) {
	n, ok := numberOf(kindNames[:], name)
	return Kind(n), ok
}

// Kinds are the names of all kinds, in order of their numbers.
func Kinds() []string { return named(kindNames[:]) }

// Sync says whether a clock was synchronised when it was read.
type Sync uint8

// What is known of a clock.
const (
	SyncUnknown    Sync = 0
	Synchronised   Sync = 1
	Unsynchronised Sync = 2
)

var syncNames = [...]string{SyncUnknown: "unknown", Synchronised: "synchronised", Unsynchronised: "unsynchronised"}

// String is the state's name.
func (s Sync) String() string { return nameOf(syncNames[:], int(s), "sync") }

// ClockSource is what disciplined the host's clock.
type ClockSource uint8

// The sources of time.
const (
	ClockUnknown ClockSource = 0
	ClockKernel  ClockSource = 1 // the kernel's own estimate (adjtimex), whoever feeds it
	ClockChrony  ClockSource = 2
	ClockPTP     ClockSource = 3
)

var clockNames = [...]string{ClockUnknown: "unknown", ClockKernel: "kernel", ClockChrony: "chrony", ClockPTP: "ptp"}

// String is the source's name.
func (c ClockSource) String() string { return nameOf(clockNames[:], int(c), "clock") }
