package direct

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Config is the [direct] table of mesh.toml: how programs of this host attach to channels.
type Config struct {
	// Socket is where programs attach, a unix socket that every user may connect to: who
	// they are says the kernel. Unit: path. Default: "", which is attach in the runtime
	// folder. Needs a restart.
	Socket string `toml:"socket"`
	// EndsMax is the most ends that are attached at once. Unit: ends. Default: 1024. Needs
	// a restart.
	EndsMax int `toml:"ends_max"`
	// EndsPerProgramMax is the most ends of one process. Unit: ends. Default: 64. Needs a
	// restart.
	EndsPerProgramMax int `toml:"ends_per_program_max"`
	// MemoryMax bounds the memory of all rings of this host. Unit: bytes. Default:
	// 4294967296. Needs a restart.
	MemoryMax int `toml:"memory_max"`
	// Lock says whether the memory of rings is locked, so that it is never swapped out: "try",
	// as far as RLIMIT_MEMLOCK lets; "must", which refuses a ring that cannot be; "off". Unit:
	// word. Default: "try". Needs a restart.
	Lock string `toml:"lock"`
	// AfterCut says what is done about a process that still has a ring CutGrace after it was cut
	// from it: "tell", in the trail and on the map; or "end", which kills it, too (SIGKILL). For
	// programs of other users that needs CAP_KILL. Unit: word. Default: "tell". Needs a restart.
	AfterCut string `toml:"after_cut"`
	// CutGrace is how long a program that was cut may take to let go of the ring, which those of
	// the Go package do with their next Poll, or Close. Unit: duration. Default: "5s". Needs
	// a restart.
	CutGrace time.Duration `toml:"cut_grace"`
	// Grace is how long ends that an earlier direct node had governed may take to come
	// back before their counterparts forget them. Unit: duration. Default: "5s". Needs a
	// restart.
	Grace time.Duration `toml:"grace"`
}

// Values of Config.Lock.
const (
	LockTry  = "try"
	LockMust = "must"
	LockOff  = "off"
)

// Values of Config.AfterCut.
const (
	CutTell = "tell"
	CutEnd  = "end"
)

// Default is the configuration of an empty file.
func Default() Config {
	return Config{EndsMax: 1024, EndsPerProgramMax: 64, MemoryMax: 4 << 30, Lock: LockTry, AfterCut: CutTell, CutGrace: 5 * time.Second, Grace: 5 * time.Second}
}

// Check reports every value that makes no sense.
func (c *Config) Check(bad func(key, problem string)) {
	count := func(key string, v, low, high int) {
		if v < low || v > high {
			bad(key, fmt.Sprintf("%d is outside %d to %d", v, low, high))
		}
	}
	if c.Socket != "" && !filepath.IsAbs(c.Socket) {
		bad("socket", fmt.Sprintf("%q is no absolute path", c.Socket))
	}
	count("ends_max", c.EndsMax, 1, 65536)
	count("ends_per_program_max", c.EndsPerProgramMax, 1, 65536)
	count("memory_max", c.MemoryMax, 1<<20, 1<<42)
	if c.Lock != LockTry && c.Lock != LockMust && c.Lock != LockOff {
		bad("lock", fmt.Sprintf("%q is none of %s, %s, %s", c.Lock, LockTry, LockMust, LockOff))
	}
	if c.AfterCut != CutTell && c.AfterCut != CutEnd {
		bad("after_cut", fmt.Sprintf("%q is none of %s, %s", c.AfterCut, CutTell, CutEnd))
	}
	if c.CutGrace < 50*time.Millisecond || c.CutGrace > time.Hour {
		bad("cut_grace", fmt.Sprintf("%v is outside 50ms to 1h", c.CutGrace))
	}
	if c.Grace < 100*time.Millisecond || c.Grace > time.Hour {
		bad("grace", fmt.Sprintf("%v is outside 100ms to 1h", c.Grace))
	}
}

// Program is one [program.NAME] table of mesh.toml: which programs of this host are the
// service NAME. Every key that is set must hold. Users or units must be set: a user can run
// any executable and keep the socket that it inherits, so executables tell the programs of
// one user apart and keep nobody out.
type Program struct {
	// Users that it may run as, by name or number. Unit: names. Default: [], any. Needs a
	// restart.
	Users []string `toml:"users"`
	// Executables that it may be, by absolute path as the kernel tells it. Unit: paths.
	// Default: [], any. Needs a restart.
	Executables []string `toml:"executables"`
	// Units of systemd that it may run in, of the system's manager. Unit: names. Default: [], any. Needs a restart.
	Units []string `toml:"units"`
}

// Check reports every value that makes no sense.
func (p *Program) Check(bad func(key, problem string)) {
	if len(p.Users)+len(p.Units) == 0 {
		bad("", "names neither users nor units; executables alone keep nobody out")
	}
	for _, u := range p.Users {
		if u == "" || strings.ContainsAny(u, ": \n") {
			bad("users", fmt.Sprintf("%q is no user", u))
		}
	}
	for _, e := range p.Executables {
		if !filepath.IsAbs(e) || filepath.Clean(e) != e {
			bad("executables", fmt.Sprintf("%q is no clean absolute path", e))
		}
	}
	for _, u := range p.Units {
		if !strings.HasSuffix(u, ".service") && !strings.HasSuffix(u, ".scope") || strings.Contains(u, "/") {
			bad("units", fmt.Sprintf("%q is no unit's name, as strategy.service", u))
		}
	}
}
