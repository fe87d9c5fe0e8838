package clock

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is the [audit.clock] table: how this host's clock is watched, and what it must keep.
type Config struct {
	// Class is the duty that the clock is held to: "rts25-100us", "rts25-1ms" and "rts25-1s" of
	// MiFID II RTS 25, "finra-50ms" of FINRA 4590. Each time the clock's error bound passes it is
	// an entry. Unit: word. Default: "rts25-100us". Needs a restart.
	Class string `toml:"class"`
	// Sample is the time between two looks at the clock; a step is found that late. Unit:
	// duration. Default: "100ms". Needs a restart.
	Sample time.Duration `toml:"sample"`
	// Ask is the time between two questions to chronyd and ptp4l. Unit: duration. Default:
	// "1s". Needs a restart.
	Ask time.Duration `toml:"ask"`
	// Interval is the longest time between two entries of the journal; a change of source,
	// state or stratum is one at once. Unit: duration. Default: "1m". Needs a restart.
	Interval time.Duration `toml:"interval"`
	// Settle is how long the bound must stay within its class before the breach counts as
	// ended, so that a clock at the edge does not fill the log. Unit: duration. Default:
	// "10s". Needs a restart.
	Settle time.Duration `toml:"settle"`
	// Step is the least jump of the clock that is an entry. Unit: duration. Default: "1ms".
	// Needs a restart.
	Step time.Duration `toml:"step"`
	// Drift is by how much a clock may run wrong of which only the kernel speaks: its bound
	// grows by it until the next sample. Unit: parts per million. Default: 500, what the kernel
	// itself reckons with. Needs a restart.
	Drift int `toml:"drift"`
	// Wander is by how much the frequency of a clock may change besides what chronyd and ptp4l
	// know; give what chrony's maxclockerror says. Unit: parts per million. Default: 1, which
	// is chrony's. Needs a restart.
	Wander int `toml:"wander"`
	// Chrony are the ways to chronyd, the first that answers counts: a path is its unix socket,
	// otherwise its address. None is no error. Unit: addresses. Default:
	// ["/run/chrony/chronyd.sock", "127.0.0.1:323"]. Needs a restart.
	Chrony []string `toml:"chrony"`
	// PTP are the management sockets of ptp4l, the first that answers counts. None is no error.
	// Unit: paths. Default: ["/var/run/ptp4lro", "/var/run/ptp4l"]. Needs a restart.
	PTP []string `toml:"ptp"`
	// PTPDomain is the domain of ptp4l; it answers no question in another. Unit: number from 0
	// to 255. Default: 0. Needs a restart.
	PTPDomain int `toml:"ptp_domain"`
	// PTPDevice is the hardware clock that ptp4l steers, such as "/dev/ptp0"; the host's clock
	// is measured against it. Without one ptp4l must stamp in software, so that what it says is
	// of the host's clock itself. Unit: path. Default: "". Needs a restart.
	PTPDevice string `toml:"ptp_device"`
}

// Default is the [audit.clock] table without keys.
func Default() Config {
	return Config{
		Class: RTS25Fine, Sample: 100 * time.Millisecond, Ask: time.Second, Interval: time.Minute, Settle: 10 * time.Second, Step: time.Millisecond,
		Drift: 500, Wander: 1,
		Chrony: []string{"/run/chrony/chronyd.sock", "127.0.0.1:323"},
		PTP:    []string{"/var/run/ptp4lro", "/var/run/ptp4l"},
	}
}

// waysMax bounds the ways to one daemon: each may cost a time-out.
const waysMax = 4

// Check reports everything wrong with the table.
func (c *Config) Check(bad func(key, problem string)) {
	if _, ok := ClassBound(c.Class); !ok {
		bad("class", strconv.Quote(c.Class)+" is none of "+strings.Join(Classes(), ", "))
	}
	within(bad, "sample", c.Sample, 10*time.Millisecond, time.Second)
	within(bad, "ask", c.Ask, max(c.Sample, 100*time.Millisecond), wordStale/2)
	within(bad, "interval", c.Interval, time.Second, time.Hour)
	within(bad, "settle", c.Settle, time.Second, time.Hour)
	within(bad, "step", c.Step, 100*time.Microsecond, time.Second)
	if c.Drift < 1 || c.Drift > 100_000 {
		bad("drift", "must be from 1 to 100000 parts per million")
	}
	if c.Wander < 1 || c.Wander > 500 {
		bad("wander", "must be from 1 to 500 parts per million")
	}
	if len(c.Chrony) > waysMax {
		bad("chrony", "more than "+strconv.Itoa(waysMax)+" ways")
	}
	for _, way := range c.Chrony {
		if problem := wayProblem(way); problem != "" {
			bad("chrony", problem)
		}
	}
	if len(c.PTP) > waysMax {
		bad("ptp", "more than "+strconv.Itoa(waysMax)+" ways")
	}
	for _, way := range append(slices.Clone(c.PTP), c.PTPDevice) {
		if way != "" && !strings.HasPrefix(way, "/") {
			bad("ptp", strconv.Quote(way)+" is no absolute path")
		}
	}
	if c.PTPDomain < 0 || c.PTPDomain > 255 {
		bad("ptp_domain", "must be from 0 to 255")
	}
}

func within(bad func(key, problem string), key string, d, least, most time.Duration) {
	if d < least || d > most {
		bad(key, "must be from "+least.String()+" to "+most.String())
	}
}

// The classes of duty.
const (
	RTS25Fine   = "rts25-100us" // RTS 25 (2017/574), annex: high-frequency trading
	RTS25Usual  = "rts25-1ms"   // any other trading
	RTS25Coarse = "rts25-1s"    // voice, quotes by request where a human answers, negotiated
	FINRA       = "finra-50ms"  // FINRA 4590, within 50 ms of NIST
)

var classes = []struct {
	name  string
	bound time.Duration
	says  string
}{
	{RTS25Fine, 100 * time.Microsecond, "MiFID II RTS 25 (EU 2017/574): 100 us from UTC"},
	{RTS25Usual, time.Millisecond, "MiFID II RTS 25 (EU 2017/574): 1 ms from UTC"},
	{RTS25Coarse, time.Second, "MiFID II RTS 25 (EU 2017/574): 1 s from UTC"},
	{FINRA, 50 * time.Millisecond, "FINRA 4590: 50 ms from NIST, source error, transmission and drift included"},
}

// Classes are the names of all classes.
func Classes() []string {
	out := make([]string, len(classes))
	for i, c := range classes {
		out[i] = c.name
	}
	return out
}

// ClassBound is how far the clock may be off under a class.
func ClassBound(name string) (time.Duration, bool) {
	for _, c := range classes {
		if c.name == name {
			return c.bound, true
		}
	}
	return 0, false
}
