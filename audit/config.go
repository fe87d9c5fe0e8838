package audit

import (
	"log/slog"
	"time"

	"fire/audit/entry"
)

// Config of a log.
type Config struct {
	Origin       string        // C2SP origin; also the name in the log's keys
	SegmentBytes int64         // of one segment file
	GroupBytes   int           // of one group at most
	Linger       time.Duration // how far apart groups begin at least
	Rings        int           // of the capture
	RingBytes    int           // of each
}

// Default is a log's usual shape.
func Default() Config {
	return Config{SegmentBytes: 64 << 20, GroupBytes: 2 << 20, Linger: 100 * time.Microsecond, Rings: 4, RingBytes: 2 << 20}
}

// Deps is what a log needs of its surroundings.
type Deps struct {
	Disk Disk // its folder
	Away Disk // another folder, better another disk: the last head lies there too
	Keys *Keys
	Now  func() time.Time
	Log  *slog.Logger

	Persons Persons // whose values are sealed

	// Stamp reads the clock and what is known of it, for each message; nil: Now, with an unknown bound.
	Stamp func() (nanos int64, bound uint32, sync entry.Sync, clock entry.ClockSource)
	Base  uint64 // random, with room above it: the ids of the sources of this run
}
