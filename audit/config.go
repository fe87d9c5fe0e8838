package audit

import (
	"log/slog"
	"strings"
	"time"

	"fire/audit/tlog"
)

// Config of a log.
type Config struct {
	Origin       string        // C2SP origin; also the name in the log's keys
	SegmentBytes int64         // of one segment file
	GroupBytes   int           // of one group at most
	Linger       time.Duration // how long a group waits for company
}

// Default is a log's usual shape.
func Default() Config {
	return Config{SegmentBytes: 64 << 20, GroupBytes: 2 << 20, Linger: time.Millisecond}
}

// Deps is what a log needs of its surroundings.
type Deps struct {
	Disk Disk // its folder
	Away Disk // another folder, better another disk: the last head lies there too
	Keys *Keys
	Now  func() time.Time
	Log  *slog.Logger
}

// Keys are what the log signs with, the newest first, and all public keys that it ever had.
type Keys struct {
	Signing []*tlog.Key // more than one while keys overlap
	Known   []string    // verifier keys
}

// inUse is the public keys that sign now, one a line.
func (k *Keys) inUse() string {
	var lines []string
	for _, s := range k.Signing {
		lines = append(lines, s.Verifier())
	}
	return strings.Join(lines, "\n")
}
