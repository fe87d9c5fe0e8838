package shm

// The numbers of the package comment. Every binding has the same.
const (
	Version = 1

	lineBytes     = 64
	headerBytes   = 16 // of a message
	linesMin      = 64
	linesMax      = 1 << 26
	MessageMax    = 64 << 10 // bytes of a message
	nameBytesMax  = 63
	dataHeadBytes = 4096
	cursorBytes   = 4096
	gateBytes     = 4096

	magicData   = 0x474e495245524946 // "FIRERING"
	magicCursor = 0x5352554345524946 // "FIRECURS"
	magicGate   = 0x4554414745524946 // "FIREGATE"

	// data
	offMagic      = 0
	offVersion    = 8
	offDiscipline = 12
	offHash       = 16
	offLines      = 24
	offKey        = 32
	offEpoch      = 40
	offCreated    = 48
	offNameLen    = 56
	offName       = 64
	offMark       = 128
	offMarks      = 136
	offIntent     = 256
	offBell       = 384
	offSampled    = 512
	offSampledAt  = 520
	offWritten    = 640

	// message
	offLength  = 8
	offType    = 12
	offFlags   = 14
	offPayload = 16
	flagPad    = 1
	flagSample = 2

	// cursor
	offPosition = 128
	offAsleep   = 256
	offRead     = 384
	offLatency  = 512

	// gate
	offState  = 128
	offReason = 132
)

// LayoutText is what the layout hash is made of: whoever changes the layout changes it.
const LayoutText = "fire ring 1; little-endian; line 64; message seq u64 0, length u32 8, type u16 12, flags u16 14 (1 pad, 2 sample), payload 16; " +
	"seq = position + 1 + key; " +
	"data magic 0, version 8, discipline 12, hash 16, lines 24, key 32, epoch 40, created 48, name 56 64, mark 128, marks 136 + 16 * (m mod 2) at 0 count 8, intent 256, " +
	"bell 384, sample 512 520, counters 640, lines 4096; " +
	"cursor magic 0, version 8, hash 16, epoch 40, position 128, asleep 256, counters 384, latency 512; " +
	"gate magic 0, version 8, hash 16, epoch 40, state 128, reason 132"

// layoutHash is the first eight bytes of LayoutText's SHA-256 (a test holds it).
const layoutHash = 0x47dce5d1ebb7faa4

// Discipline is what a writer does when its readers are slow.
type Discipline uint32

const (
	Lane      Discipline = 1 // it is told that there is no room
	Broadcast Discipline = 2 // it goes on, and readers are told what they lost
)

// State is what the broker says of a channel.
type State uint32

const (
	Open     State = 1
	Revoked  State = 2
	Closed   State = 3
	Orphaned State = 4 // its writer has died
)

// counters of a writer, by index from offWritten
const (
	countMessages = iota
	countBytes
	countFull
	countBells
	countPadding
	countPosition
	writerCounters
)

// counters of a reader, by index from offRead
const (
	countReadMessages = iota
	countReadBytes
	countLaps
	countLost
	countWaits
	readerCounters
)
