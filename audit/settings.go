package audit

import (
	"fmt"
	"path/filepath"
	"time"

	"fire/audit/clock"
	"fire/audit/entry"
	"fire/audit/order"
)

// Settings is the [audit] table of mesh.toml: this host's audit log.
type Settings struct {
	// Enabled says whether this host keeps an audit log. Without one nothing that it carries
	// can be proved, and what the floor says of a service's audit is not done here. Unit: true
	// or false. Default: true. Needs a restart.
	Enabled bool `toml:"enabled"`
	// Dir holds the log's segments; give it a disk of its own where orders are many. A relative
	// path counts from the state folder. Unit: path. Default: "", which is audit in the state folder.
	// Needs a restart.
	Dir string `toml:"dir"`
	// HeadDir holds the log's last head once more, so that a log whose end was cut is found; on
	// another disk than dir it also finds a disk that was put back. Unit: path. Default: "",
	// which is audit-head in the state folder. Needs a restart.
	HeadDir string `toml:"head_dir"`
	// SegmentBytes is the size of one segment file, made ahead: the log takes that much of the
	// disk at least twice. Unit: bytes. Default: 67108864. Needs a restart.
	SegmentBytes int `toml:"segment_bytes"`
	// Rings is how many rings lie between the data path and the log's writer. Unit: rings.
	// Default: 4. Needs a restart.
	Rings int `toml:"rings"`
	// RingBytes is the size of each: what can be captured while the disk takes nothing. Unit:
	// bytes. Default: 4194304. Needs a restart.
	RingBytes int `toml:"ring_bytes"`
	// Linger is how far apart groups begin at least: more of it makes fewer and larger ones,
	// and entries provable later. Unit: duration. Default: "100us". Needs a restart.
	Linger time.Duration `toml:"linger"`
	// KeepMessagesYears is how long messages, what they went through and what operators did are
	// kept: 17a-4(b) and RTS 6 want less, FINRA 4511 wants 6. Unit: years. Default: 6. Needs a restart.
	KeepMessagesYears int `toml:"keep_messages_years"`
	// KeepClockYears is the same for the clock's journal; RTS 25 and RTS 6 want 5. A segment goes
	// when the time of all that it holds is over. Unit: years. Default: 5. Needs a restart.
	KeepClockYears int `toml:"keep_clock_years"`
	// KeepConnectionsYears is the same for connections, requests and refusals. Unit: years.
	// Default: 3. Needs a restart.
	KeepConnectionsYears int `toml:"keep_connections_years"`
	// KeepBytes bounds the log whatever its age: beyond it the oldest segments go. It breaks what
	// the years promise, and is for floors on which nothing is at stake. Unit: bytes. Default: 0,
	// which is no bound. Needs a restart.
	KeepBytes int `toml:"keep_bytes"`
	// CompressAfter is how old the newest entry of a segment is when the segment is compressed;
	// 0 is never. Unit: duration. Default: "24h". Needs a restart.
	CompressAfter time.Duration `toml:"compress_after"`
	// ScrubEvery is how often the whole log is read again, spread over half of that time; 0 is
	// never. Unit: duration. Default: "24h". Needs a restart.
	ScrubEvery time.Duration `toml:"scrub_every"`
	// Index says whether the process keeps an index over its logs, so that a search does not read
	// them from end to end. It lies in audit-index of the state folder, may be deleted at any
	// time, and is made again. Unit: true or false. Default: true. Needs a restart.
	Index bool `toml:"index"`
	// PersonalTags are FIX fields whose values are of persons, such as 1 (Account) and 448
	// (PartyID): they are sealed under a key of the person, whose name is the value of the first
	// of them that a message has, and `fire audit erase` destroys that key. What they say is
	// overwritten in the log, and no part of the digest that joins the message's hops. Unit: FIX
	// tags. Default: [], which is none. Needs a restart.
	PersonalTags []int `toml:"personal_tags"`
	// How this host's clock is watched, and what it must keep.
	Clock clock.Config `toml:"clock"`
}

// DefaultSettings is the [audit] table without keys.
func DefaultSettings() Settings {
	return Settings{Enabled: true, Index: true, SegmentBytes: 64 << 20, Rings: 4, RingBytes: 4 << 20, Linger: 100 * time.Microsecond,
		KeepMessagesYears: 6, KeepClockYears: 5, KeepConnectionsYears: 3, CompressAfter: 24 * time.Hour, ScrubEvery: 24 * time.Hour, Clock: clock.Default()}
}

// Check reports every value that makes no sense.
func (s *Settings) Check(bad func(key, problem string)) {
	for key, dir := range map[string]string{"dir": s.Dir, "head_dir": s.HeadDir} {
		if dir != "" && filepath.Clean(dir) == "/" {
			bad(key, "is the root of the file system")
		}
	}
	if s.Dir != "" && s.Dir == s.HeadDir {
		bad("head_dir", "is the same as dir: whoever cuts the one cuts the other")
	}
	count := func(key string, v, low, high int) {
		if v < low || v > high {
			bad(key, fmt.Sprintf("%d is outside %d to %d", v, low, high))
		}
	}
	count("segment_bytes", s.SegmentBytes, 1<<20, 1<<30)
	count("rings", s.Rings, 1, 64)
	count("ring_bytes", s.RingBytes, 1<<20, 1<<30)
	count("keep_messages_years", s.KeepMessagesYears, 0, 100)
	count("keep_clock_years", s.KeepClockYears, 0, 100)
	count("keep_connections_years", s.KeepConnectionsYears, 0, 100)
	if s.KeepBytes != 0 && s.KeepBytes < 2*s.SegmentBytes {
		bad("keep_bytes", fmt.Sprintf("%d is less than two segments", s.KeepBytes))
	}
	for key, d := range map[string]time.Duration{"compress_after": s.CompressAfter, "scrub_every": s.ScrubEvery} {
		if d != 0 && (d < time.Minute || d > 366*24*time.Hour) {
			bad(key, fmt.Sprintf("%v is outside 1m to 366 days, and not 0", d))
		}
	}
	if len(s.PersonalTags) > 0 {
		if _, err := order.NewPersonal(s.PersonalTags); err != nil {
			bad("personal_tags", err.Error())
		}
	}
	s.Clock.Check(func(key, problem string) { bad("clock."+key, problem) })
	if s.Linger < 0 || s.Linger > time.Second {
		bad("linger", fmt.Sprintf("%v is outside 0s to 1s", s.Linger))
	}
}

// Config is the shape of the log of that name.
func (s *Settings) Config(origin string) Config {
	c := Default()
	c.Origin, c.SegmentBytes, c.Rings, c.RingBytes, c.Linger = origin, int64(s.SegmentBytes), s.Rings, s.RingBytes, s.Linger
	return c
}

// Retention is how the log is kept.
func (s *Settings) Retention() Retention {
	r := Retention{Years: map[entry.Kind]int{}, YearsElse: s.KeepMessagesYears, Bytes: int64(s.KeepBytes), CompressAfter: s.CompressAfter, ScrubEvery: s.ScrubEvery, LookEvery: time.Minute}
	for _, k := range []entry.Kind{entry.Clock, entry.Step, entry.Drift} {
		r.Years[k] = s.KeepClockYears
	}
	for _, k := range []entry.Kind{entry.Opened, entry.Closed, entry.Refused, entry.Request, entry.Path} {
		r.Years[k] = s.KeepConnectionsYears
	}
	if s.KeepBytes > 0 {
		r.LookEvery = 5 * time.Second
	}
	return r
}
