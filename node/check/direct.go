package check

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Direct is what this host is for the direct path: where threads that spin can run, and
// what the kernel gives to rings and to encrypted UDP.
type Direct struct {
	Named        CPUs // the cores of the hot threads, by --cpus
	Online       CPUs
	Isolated     CPUs // kept from the scheduler, at boot or by a cpuset partition
	TickStopped  CPUs // nohz_full
	TickKernel   bool // the kernel can stop the tick
	CallbackFree CPUs // rcu_nocbs, which nohz_full implies
	SharedCores  []CPUs
	Memories     []MemoryNode
	Governors    []Governor
	IdleDriver   string // "" without one
	IdleStates   []IdleState
	PollIdle     bool // idle=poll
	Interrupts   []Interrupt
	WatchdogCPUs CPUs

	Sysctl       map[string]int64 // those that could be read
	HugePage     string           // mode of transparent huge pages for private memory
	HugeShared   string           // the same for shared memory, which rings are
	HugeReserved int64            // huge pages that are free; -1 is unknown
	SwapBytes    int64            // of all swap; -1 is unknown
	MemlockBytes int64            // -1 is unknown
	MemlockOf    string           // whose limit that is

	Release      string // of the kernel
	ClockSources string // those to choose from
	Kernel       Features
}

// MemoryNode is a NUMA node.
type MemoryNode struct {
	ID        int
	CPUs      CPUs
	Distances []int // to each node, 10 is local
}

// Governor is what chooses the frequency of a core.
type Governor struct {
	CPU  int
	Name string
}

// IdleState is one enabled way of a core to sleep.
type IdleState struct {
	CPU        int
	Name       string
	WakeMicros int64
}

// Interrupt is a line that has a handler.
type Interrupt struct {
	Number, Name string
	CPUs         CPUs
}

// Features is what the kernel answered when it was asked for a thing. Asked is false where
// nothing of it exists.
type Features struct {
	Asked        bool
	Seal         error // of memory that this program mapped for writing
	SealNames    int   // names in a file system that the sealed memory has
	Membarrier   error
	FutexWaitv   error
	PeerPidfd    error
	SealWritable bool // a second writable mapping was given in spite of the seal
}

const (
	sysCPU   = "sys/devices/system/cpu"
	sysNode  = "sys/devices/system/node"
	sysHuge  = "sys/kernel/mm/transparent_hugepage"
	procSys  = "proc/sys"
	linesMax = 4096 // interrupts and nodes that are looked at
)

// sysctls that checks read.
func sysctls() []string {
	return []string{"kernel.nmi_watchdog", "kernel.watchdog", "kernel.sched_autogroup_enabled", "kernel.sched_rt_runtime_us", "kernel.numa_balancing",
		"vm.swappiness", "net.core.busy_read"}
}

// tree reads below a root as the kernel's text files are read: what cannot be read is
// empty.
type tree struct{ root fs.FS }

// word hands the root itself to ReadFile, for its own method: io/fs reads a file of size 0
// by one byte first, and a sysctl answers no second read.
func (t tree) word(name string) string {
	b, err := fs.ReadFile(t.root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (t tree) number(name string) (int64, bool) {
	n, err := strconv.ParseInt(t.word(name), 10, 64)
	return n, err == nil
}

func (t tree) exists(name string) bool { _, err := fs.Stat(t.root, name); return err == nil }

func (t tree) cpus(name string, last int) CPUs {
	c, err := ParseCPUs(t.word(name), last)
	if err != nil {
		return nil
	}
	return c
}

// ProbeDirect looks below root, which has /proc and /sys; named are the cores of the hot
// threads, and pid is the process whose limits count, 0 for this one. Features are asked
// of the kernel by the caller (AskKernel): no tree of files has them.
func ProbeDirect(root fs.FS, named CPUs, pid int) *Direct {
	t := tree{root}
	d := &Direct{Named: named, Online: t.cpus(sysCPU+"/online", -1), HugeReserved: -1, SwapBytes: -1, MemlockBytes: -1, Sysctl: map[string]int64{}}
	d.cores(t)
	d.power(t)
	d.memory(t, pid)
	d.interrupts(t)
	for _, name := range sysctls() {
		if n, known := t.number(procSys + "/" + strings.ReplaceAll(name, ".", "/")); known {
			d.Sysctl[name] = n
		}
	}
	d.WatchdogCPUs = t.cpus(procSys+"/kernel/watchdog_cpumask", -1)
	d.Release = t.word(procSys + "/kernel/osrelease")
	d.ClockSources = t.word("sys/devices/system/clocksource/clocksource0/available_clocksource")
	return d
}

// cores reads which cores there are, which are left alone, and how they lie.
func (d *Direct) cores(t tree) {
	last := -1
	if possible := t.cpus(sysCPU+"/possible", -1).or(d.Online); len(possible) > 0 {
		last = possible[len(possible)-1]
	}
	d.Isolated = t.cpus(sysCPU+"/isolated", last).or(t.cpus("sys/fs/cgroup/cpuset.cpus.isolated", last)).and(d.Online)
	d.TickStopped, d.TickKernel = t.cpus(sysCPU+"/nohz_full", last), t.exists(sysCPU+"/nohz_full")
	d.CallbackFree = d.TickStopped
	for _, arg := range strings.Fields(t.word("proc/cmdline")) {
		if list, is := strings.CutPrefix(arg, "rcu_nocbs="); is {
			if c, err := ParseCPUs(list, last); err == nil {
				d.CallbackFree = d.CallbackFree.or(c)
			}
		}
		d.PollIdle = d.PollIdle || arg == "idle=poll"
	}
	for _, n := range d.Online {
		shared := t.cpus(fmt.Sprintf("%s/cpu%d/topology/thread_siblings_list", sysCPU, n), last).and(d.Online)
		if len(shared) > 1 && shared[0] == n {
			d.SharedCores = append(d.SharedCores, shared)
		}
	}
	for _, id := range t.cpus(sysNode+"/online", -1) {
		at := fmt.Sprintf("%s/node%d", sysNode, id)
		node := MemoryNode{ID: id, CPUs: t.cpus(at+"/cpulist", last)}
		for _, f := range strings.Fields(t.word(at + "/distance")) {
			if n, err := strconv.Atoi(f); err == nil {
				node.Distances = append(node.Distances, n)
			}
		}
		d.Memories = append(d.Memories, node)
	}
}

// power reads how cores choose their frequency and how deep they sleep.
func (d *Direct) power(t tree) {
	if s := t.word(sysCPU + "/cpuidle/current_driver"); s != "none" {
		d.IdleDriver = s
	}
	for _, n := range d.Online {
		at := fmt.Sprintf("%s/cpu%d", sysCPU, n)
		if g := t.word(at + "/cpufreq/scaling_governor"); g != "" {
			d.Governors = append(d.Governors, Governor{n, g})
		}
		allowed := int64(1) << 62
		switch limit, known := t.number(at + "/power/pm_qos_resume_latency_us"); {
		case t.word(at+"/power/pm_qos_resume_latency_us") == "n/a":
			allowed = 0
		case known && limit > 0: // 0 is no limit
			allowed = limit
		}
		states, _ := fs.Glob(t.root, at+"/cpuidle/state*")
		for _, s := range states {
			wake, known := t.number(s + "/latency")
			if off, _ := t.number(s + "/disable"); known && off == 0 && wake <= allowed {
				d.IdleStates = append(d.IdleStates, IdleState{n, t.word(s + "/name"), wake})
			}
		}
	}
}

// memory reads what rings are made of.
func (d *Direct) memory(t tree, pid int) {
	d.HugePage, d.HugeShared = chosen(t.word(sysHuge+"/enabled")), chosen(t.word(sysHuge+"/shmem_enabled"))
	for line := range strings.Lines(t.word("proc/meminfo")) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		switch {
		case err != nil:
		case f[0] == "HugePages_Free:":
			d.HugeReserved = n
		case f[0] == "SwapTotal:":
			d.SwapBytes = n << 10
		}
	}
	of := "self"
	d.MemlockOf = "this shell"
	if pid > 0 {
		of = strconv.Itoa(pid)
		d.MemlockOf = "process " + of
	}
	for line := range strings.Lines(t.word("proc/" + of + "/limits")) {
		rest, is := strings.CutPrefix(line, "Max locked memory")
		if f := strings.Fields(rest); is && len(f) > 0 {
			if f[0] == "unlimited" {
				d.MemlockBytes = 1 << 62
			} else if n, err := strconv.ParseInt(f[0], 10, 64); err == nil {
				d.MemlockBytes = n
			}
		}
	}
}

// chosen is the word in brackets: always [madvise] never.
func chosen(s string) string {
	_, rest, _ := strings.Cut(s, "[")
	word, _, _ := strings.Cut(rest, "]")
	return word
}

// interrupts reads where the lines that have a handler are served.
func (d *Direct) interrupts(t tree) {
	lines, _ := fs.ReadDir(t.root, "proc/irq")
	for _, l := range lines[:min(len(lines), linesMax)] {
		at := path.Join("proc/irq", l.Name())
		inside, err := fs.ReadDir(t.root, at)
		if err != nil {
			continue
		}
		handler := slices.IndexFunc(inside, fs.DirEntry.IsDir) // one folder for each
		if handler < 0 {
			continue
		}
		served := t.word(at + "/effective_affinity_list")
		if served == "" {
			served = t.word(at + "/smp_affinity_list")
		}
		if c, err := ParseCPUs(served, -1); err == nil {
			d.Interrupts = append(d.Interrupts, Interrupt{l.Name(), inside[handler].Name(), c})
		}
	}
	slices.SortFunc(d.Interrupts, func(a, b Interrupt) int {
		return cmp.Or(cmp.Compare(len(a.Number), len(b.Number)), cmp.Compare(a.Number, b.Number))
	})
}

// hot is where the threads that spin run, as far as one can tell.
func (d *Direct) hot() CPUs {
	if len(d.Named) > 0 {
		return d.Named.and(d.Online)
	}
	return d.Isolated
}

// proposed is what a fix names as their place: all but the first core, when nothing is
// known.
func (d *Direct) proposed() CPUs {
	if hot := d.hot(); len(hot) > 0 || len(d.Online) == 0 {
		return hot
	}
	first := CPUs{d.Online[0]}
	for _, c := range d.SharedCores {
		if c.has(first[0]) {
			first = c
		}
	}
	return d.Online.without(first)
}

// withPlaces is a fix for this host: HOT and REST are told.
func (d *Direct) withPlaces(fix string) string {
	hot := d.proposed()
	rest := d.Online.without(hot)
	if len(hot) == 0 || len(rest) == 0 {
		return fix
	}
	return strings.NewReplacer(placesTold, "", "HOT", hot.String(), "REST", rest.String()).Replace(fix)
}
