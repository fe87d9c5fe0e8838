package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

// files is a host's /proc and /sys.
type files map[string]string

// tuned is a host with four cores of two hyper-threads on two NUMA nodes, of which node 1
// is kept for threads that spin on 2 and 3.
func tuned() files {
	f := files{
		"proc/cmdline":                  "root=/dev/sda1 isolcpus=managed_irq,domain,2-3,6-7 nohz_full=2-3,6-7 rcu_nocbs=2-3,6-7 quiet\n",
		"proc/meminfo":                  "MemTotal: 65536 kB\nHugePages_Free:        3\nSwapTotal:             0 kB\n",
		"proc/self/limits":              "Limit  Soft Limit  Hard Limit  Units\nMax locked memory         unlimited            unlimited            bytes\n",
		"proc/77/limits":                "Max locked memory         65536                65536                bytes\n",
		"proc/irq/default_smp_affinity": "33\n",
		"proc/irq/9/smp_affinity_list":  "0-7\n", // nobody handles it
		"proc/irq/24/eth0/x":            "",
		"proc/irq/24/smp_affinity_list": "0-7\n", "proc/irq/24/effective_affinity_list": "1\n",
		"proc/irq/25/nvme0q1/x": "", "proc/irq/25/smp_affinity_list": "4-5\n",
		"proc/sys/kernel/osrelease":                                         "6.12.9-rt\n",
		"proc/sys/kernel/nmi_watchdog":                                      "0\n",
		"proc/sys/kernel/watchdog":                                          "1\n",
		"proc/sys/kernel/watchdog_cpumask":                                  "0-1,4-5\n",
		"proc/sys/kernel/sched_autogroup_enabled":                           "0\n",
		"proc/sys/kernel/sched_rt_runtime_us":                               "-1\n",
		"proc/sys/kernel/numa_balancing":                                    "0\n",
		"proc/sys/vm/swappiness":                                            "60\n",
		"proc/sys/net/core/busy_read":                                       "50\n",
		"sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm \n",
		sysCPU + "/online":                                                  "0-7\n", sysCPU + "/possible": "0-15\n", sysCPU + "/isolated": "2-3,6-7\n", sysCPU + "/nohz_full": "2-3,6-7\n",
		sysCPU + "/cpuidle/current_driver": "intel_idle\n",
		sysNode + "/online":                "0-1\n",
		sysNode + "/node0/cpulist":         "0-1,4-5\n", sysNode + "/node0/distance": "10 21\n",
		sysNode + "/node1/cpulist": "2-3,6-7\n", sysNode + "/node1/distance": "21 10\n",
		sysHuge + "/enabled": "always [madvise] never\n", sysHuge + "/shmem_enabled": "always [within_size] advise never deny force\n",
	}
	for n := range 8 {
		at := fmt.Sprintf("%s/cpu%d", sysCPU, n)
		f[at+"/topology/thread_siblings_list"] = fmt.Sprintf("%d,%d\n", n%4, n%4+4)
		f[at+"/cpufreq/scaling_governor"] = "performance\n"
		f[at+"/power/pm_qos_resume_latency_us"] = "0\n"
		for i, s := range []struct {
			name, wake, off string
		}{{"POLL", "0", "0"}, {"C1", "2", "0"}, {"C6", "133", "1"}} {
			state := fmt.Sprintf("%s/cpuidle/state%d", at, i)
			f[state+"/name"], f[state+"/latency"], f[state+"/disable"] = s.name+"\n", s.wake+"\n", s.off+"\n"
		}
	}
	return f
}

// host is what is spoilt, one thing at a time.
type host struct {
	files files
	named CPUs
	pid   int
	facts *Facts
	asked Features
}

func tunedHost() *host {
	return &host{files: tuned(), named: CPUs{2, 3}, asked: Features{Asked: true},
		facts: &Facts{Now: now, Host: Host{OS: "linux", RmemMaxBytes: 16 << 20, WmemMaxBytes: 4 << 20, ClockSynced: 1, ClockMaxError: 40 * time.Microsecond, ClockSource: "tsc"}}}
}

func (h *host) run() []Finding {
	root := fstest.MapFS{}
	for name, text := range h.files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	h.facts.Direct = ProbeDirect(root, h.named, h.pid)
	h.facts.Direct.Kernel = h.asked
	return Run(h.facts, DirectGroup)
}

// unnamed is a host as it comes, where nobody has said what runs where.
func unnamed(h *host) {
	h.named = nil
	h.files[sysCPU+"/isolated"], h.files[sysCPU+"/nohz_full"], h.files["proc/cmdline"] = "\n", " (null)\n", "quiet\n"
	h.files["proc/sys/kernel/sched_rt_runtime_us"] = "950000\n"
}

func set(name, text string) func(*host) { return func(h *host) { h.files[name] = text + "\n" } }

func all(do ...func(*host)) func(*host) {
	return func(h *host) {
		for _, d := range do {
			d(h)
		}
	}
}

// faults is one row for each way in which a check is not ok. also are the codes that
// follow from the same fault.
var faults = []struct {
	code  string
	state State
	text  string
	spoil func(*host)
	also  []string
}{
	{"001", Warn, "2 online", func(h *host) { h.named = nil; h.files[sysCPU+"/online"] = "0-1\n" }, []string{"002", "013"}},
	{"002", Warn, "none is isolated", unnamed, []string{"005", "006"}},
	{"002", Warn, "CPU 3 of --cpus is not isolated; isolated are 2,6-7", set(sysCPU+"/isolated", "2,6-7"), nil},
	{"002", Fail, "CPU 12 of --cpus is not online", func(h *host) { h.named = CPUs{2, 12} }, nil},
	{"003", Warn, "CPU 3 has the tick", set(sysCPU+"/nohz_full", "2,6-7"), nil},
	{"003", Warn, "CONFIG_NO_HZ_FULL", func(h *host) { delete(h.files, sysCPU+"/nohz_full") }, nil},
	{"004", Warn, "CPU 2-3 runs them", all(set(sysCPU+"/nohz_full", ""), set("proc/cmdline", "rcu_nocbs=6-7")), []string{"003"}},
	{"005", Warn, "[2,6]", func(h *host) { h.named = CPUs{2, 6} }, nil},
	{"005", Warn, "[3,7]", set(sysCPU+"/isolated", "2-3,6"), nil},
	{"005", Warn, "may be put there", all(unnamed, set("proc/sys/kernel/sched_rt_runtime_us", "950000")), []string{"002", "006"}},
	{"006", Warn, "CPU 1-2 lies on 2 NUMA nodes, distance up to 21", all(func(h *host) { h.named = CPUs{1, 2} },
		set(sysCPU+"/isolated", "1-3,5-7"), set(sysCPU+"/nohz_full", "1-3"), set("proc/sys/kernel/watchdog_cpumask", "0"), set("proc/irq/24/effective_affinity_list", "0")), nil},
	{"006", Warn, "2 NUMA nodes, distance up to 21", unnamed, []string{"002", "005"}},
	{"007", Warn, "kernel.numa_balancing is 1 on 2", set("proc/sys/kernel/numa_balancing", "1"), nil},
	{"008", Warn, "powersave on CPU 3", set(sysCPU+"/cpu3/cpufreq/scaling_governor", "powersave"), nil},
	{"009", Warn, "intel_idle lets CPU 2 use C6, which wakes in 133 us", set(sysCPU+"/cpu2/cpuidle/state2/disable", "0"), nil},
	{"010", Warn, "CPU 3 serves 1 of 2 interrupts: 24 (eth0)", set("proc/irq/24/effective_affinity_list", "3"), nil},
	{"010", Warn, "25 (nvme0q1)", set("proc/irq/25/smp_affinity_list", "0-7"), nil},
	{"011", Warn, "nmi_watchdog is 1", set("proc/sys/kernel/nmi_watchdog", "1"), nil},
	{"011", Warn, "the watchdog runs on CPU 2-3", set("proc/sys/kernel/watchdog_cpumask", "0-7"), nil},
	{"012", Warn, "is 1", all(unnamed, set("proc/sys/kernel/sched_autogroup_enabled", "1")), []string{"002", "005", "006"}},
	{"013", Warn, "950000 although", set("proc/sys/kernel/sched_rt_runtime_us", "950000"), nil},
	{"013", Warn, "can hang the host", all(unnamed, set("proc/sys/kernel/sched_rt_runtime_us", "-1")), []string{"002", "005", "006"}},
	{"020", Fail, "F_ADD_SEALS: invalid argument", func(h *host) { h.asked.Seal = errors.New("F_ADD_SEALS: invalid argument") }, nil},
	{"020", Fail, "does not keep it", func(h *host) { h.asked.SealWritable = true }, nil},
	{"020", Warn, "1 names", func(h *host) { h.asked.SealNames = 1 }, nil},
	{"021", Warn, "process 77 may lock 64 KiB", func(h *host) { h.pid = 77 }, nil},
	{"022", Warn, "shmem_enabled is never; reserved and free: 3", set(sysHuge+"/shmem_enabled", "always within_size advise [never] deny force"), nil},
	{"023", Warn, "is always", set(sysHuge+"/enabled", "[always] madvise never"), nil},
	{"024", Warn, "2 MiB of swap, vm.swappiness is 60", set("proc/meminfo", "SwapTotal: 2048 kB"), nil},
	{"030", Warn, "208 KiB", func(h *host) { h.facts.Host.RmemMaxBytes = 212992 }, nil},
	{"031", Warn, "208 KiB", func(h *host) { h.facts.Host.WmemMaxBytes = 212992 }, nil},
	{"032", Warn, "busy_read is 0", set("proc/sys/net/core/busy_read", "0"), nil},
	{"033", Warn, "Linux 7.0.0-rc1", set("proc/sys/kernel/osrelease", "7.0.0-rc1"), nil},
	{"033", Warn, "Linux 7.1.4-200.fc44", set("proc/sys/kernel/osrelease", "7.1.4-200.fc44"), nil},
	{"040", Warn, "kvm-clock, though", func(h *host) { h.facts.Host.ClockSource = "kvm-clock" }, nil},
	{"040", Warn, "does not offer tsc", func(h *host) {
		h.facts.Host.ClockSource = "hpet"
		h.files["sys/devices/system/clocksource/clocksource0/available_clocksource"] = "hpet acpi_pm\n"
	}, nil},
	{"041", Warn, "nobody keeps", func(h *host) { h.facts.Host.ClockSynced = 0 }, nil},
	{"041", Warn, "off by 5ms", func(h *host) { h.facts.Host.ClockMaxError = 5 * time.Millisecond }, nil},
	{"042", Warn, "membarrier", func(h *host) { h.asked.Membarrier = errors.New("membarrier: function not implemented") }, nil},
	{"043", Warn, "futex_waitv", func(h *host) { h.asked.FutexWaitv = errors.New("futex_waitv: function not implemented") }, nil},
	{"044", Warn, "SO_PEERPIDFD", func(h *host) { h.asked.PeerPidfd = errors.New("SO_PEERPIDFD: protocol not available") }, nil},
}

// TestEachFaultOfTheHostIsFoundByItsCheck spoils one thing at a time, below a root of files.
func TestEachFaultOfTheHostIsFoundByItsCheck(t *testing.T) {
	for _, c := range tunedHost().run() {
		if c.State != OK {
			t.Errorf("a tuned host: %s is %s: %s", c.Code, c.State, c.Text)
		}
	}
	var tried []string
	for _, row := range faults {
		h := tunedHost()
		row.spoil(h)
		code := "FIRE-DIRECT-" + row.code
		tried = append(tried, code)
		for _, c := range h.run() {
			short := strings.TrimPrefix(c.Code, "FIRE-DIRECT-")
			switch {
			case c.Code == code:
				if c.State != row.state || !strings.Contains(c.Text, row.text) || c.Fix == "" {
					t.Errorf("%s: %s %q with fix %q, want %s %q", c.Code, c.State, c.Text, c.Fix, row.state, row.text)
				}
			case c.State != OK && c.State != Skip && !slices.Contains(row.also, short):
				t.Errorf("%s %q: %s is %s, too: %s", row.code, row.text, c.Code, c.State, c.Text)
			}
		}
	}
	for _, c := range Checks() {
		if c.Group == DirectGroup && !slices.Contains(tried, c.Code) {
			t.Errorf("%s is never provoked", c.Code)
		}
	}
}

func TestWhatAHostMayDoInsteadIsTaken(t *testing.T) {
	for _, row := range []struct {
		code, text string
		spoil      func(*host)
	}{
		{"002", "isolated: 2-3,6-7", all(set(sysCPU+"/isolated", ""), set("sys/fs/cgroup/cpuset.cpus.isolated", "2-3,6-7"))},
		{"004", "2-3", all(set(sysCPU+"/nohz_full", ""), set("proc/cmdline", "rcu_nocbs=all"))},
		{"004", "2-3", all(set(sysCPU+"/nohz_full", ""), set("proc/cmdline", "rcu_nocbs=2-N"))},
		{"005", "no two", set(sysCPU+"/online", "0-3")},
		{"006", "all of node 1", func(*host) {}},
		{"006", "one NUMA node", set(sysNode+"/online", "0")},
		{"007", "is 1", all(set(sysNode+"/online", "0"), set("proc/sys/kernel/numa_balancing", "1"))},
		{"008", "performance", set(sysCPU+"/cpu0/cpufreq/scaling_governor", "powersave")}, // nobody spins there
		{"009", "C1", all(set(sysCPU+"/cpu2/cpuidle/state2/disable", "0"), set(sysCPU+"/cpu2/power/pm_qos_resume_latency_us", "2"))},
		{"009", "C1", all(set(sysCPU+"/cpu2/cpuidle/state2/disable", "0"), set(sysCPU+"/cpu2/power/pm_qos_resume_latency_us", "n/a"))},
		{"009", "idle=poll", all(set(sysCPU+"/cpu2/cpuidle/state2/disable", "0"), set("proc/cmdline", "idle=poll rcu_nocbs=2-3"))},
		{"011", "", all(set("proc/sys/kernel/watchdog", "0"), set("proc/sys/kernel/watchdog_cpumask", "0-7"))},
		{"012", "of no weight", set("proc/sys/kernel/sched_autogroup_enabled", "1")},
		{"013", "950000 us", unnamed},
		{"024", "swappiness is 1", all(set("proc/meminfo", "SwapTotal: 2048 kB"), set("proc/sys/vm/swappiness", "1"))},
		{"024", "no swap", func(*host) {}},
		{"033", "7.1.5", set("proc/sys/kernel/osrelease", "7.1.5")},
		{"033", "7.2", set("proc/sys/kernel/osrelease", "7.2-rc1")},
		{"033", "6.19", set("proc/sys/kernel/osrelease", "6.19.0")},
	} {
		h := tunedHost()
		row.spoil(h)
		for _, c := range h.run() {
			if c.Code == "FIRE-DIRECT-"+row.code && (c.State != OK || !strings.Contains(c.Text, row.text)) {
				t.Errorf("%s: %s %q, want ok %q", c.Code, c.State, c.Text, row.text)
			}
		}
	}
}

func TestAHostThatSaysNothingPassesNothing(t *testing.T) {
	f := &Facts{Now: now, Host: Host{RmemMaxBytes: -1, WmemMaxBytes: -1, ClockSynced: -1}, Direct: ProbeDirect(fstest.MapFS{}, nil, 0)}
	for _, c := range Run(f, DirectGroup) {
		if c.State != Skip || c.Text == "" {
			t.Errorf("%s is %s: %s", c.Code, c.State, c.Text)
		}
	}
	for _, c := range Run(&Facts{}, DirectGroup) {
		if c.State != Skip {
			t.Errorf("%s is %s though nobody looked: %s", c.Code, c.State, c.Text)
		}
	}
	for _, c := range Run(&Facts{}) {
		if c.Group == DirectGroup {
			t.Errorf("%s runs though nobody asked for its group", c.Code)
		}
	}
}

// TestFixesNameTheCoresOfThisHost: a person pastes them.
func TestFixesNameTheCoresOfThisHost(t *testing.T) {
	fix := func(h *host, code string) string {
		for _, c := range h.run() {
			if c.Code == code {
				return c.Fix
			}
		}
		return ""
	}
	h := tunedHost()
	unnamed(h)
	if got, want := fix(h, "FIRE-DIRECT-002"), "'isolcpus=managed_irq,domain,1-3,5-7 nohz_full=1-3,5-7 rcu_nocbs=1-3,5-7'"; !strings.Contains(got, want) {
		t.Errorf("all cores but the first: %s", got)
	}
	h.named = CPUs{3}
	if got := fix(h, "FIRE-DIRECT-011"); got != "" {
		t.Errorf("a fix of what is ok: %s", got)
	}
	h.files["proc/sys/kernel/nmi_watchdog"] = "1\n"
	if got := fix(h, "FIRE-DIRECT-011"); !strings.Contains(got, "watchdog_cpumask=0-2,4-7\\n") {
		t.Errorf("all cores but the named: %s", got)
	}
	for _, c := range Checks() {
		if c.Group != DirectGroup {
			continue
		}
		if told := strings.Contains(c.Fix, placesTold); told != (strings.Contains(c.Fix, "HOT") || strings.Contains(c.Fix, "REST")) {
			t.Errorf("%s: its places are told: %v, in %s", c.Code, told, c.Fix)
		}
		if strings.ContainsAny(c.Fix, "\n") {
			t.Errorf("%s: its fix is not one line", c.Code)
		}
		if got := h.facts.Direct.withPlaces(c.Fix); strings.Contains(got, "HOT") || strings.Contains(got, "REST") {
			t.Errorf("%s: %s", c.Code, got)
		}
	}
}

// TestFixesCanBePasted asks a shell, which runs nothing.
func TestFixesCanBePasted(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	h := tunedHost()
	h.run()
	for _, c := range Checks() {
		if c.Group != DirectGroup {
			continue
		}
		fix := h.facts.Direct.withPlaces(c.Fix)
		if out, err := exec.CommandContext(t.Context(), bash, "-n", "-c", fix).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s\n%s", c.Code, err, out, fix)
		}
		if command, _, _ := strings.Cut(fix, " "); strings.ToLower(command) != command {
			t.Errorf("%s: a fix begins with a sentence: %s", c.Code, fix)
		}
	}
}

func TestListsOfCPUs(t *testing.T) {
	for _, row := range []struct {
		text string
		last int
		want string
	}{
		{"", 7, ""}, {"(null)", 7, ""}, {"0", -1, "0"}, {"0-3,8", -1, "0-3,8"}, {"8,0-3,2", -1, "0-3,8"}, {"0-15:2/8", -1, "0-1,8-9"},
		{"all", 3, "0-3"}, {"4-N", 6, "4-6"}, {"N", 6, "6"}, {"1\n", -1, "1"},
	} {
		if got, err := ParseCPUs(row.text, row.last); err != nil || got.String() != row.want {
			t.Errorf("%q: %s, %v; want %s", row.text, got, err, row.want)
		}
	}
	for _, bad := range []string{"x", "-1", "3-1", "1,", ",1", "all", "N", "0-99999", "8192", "0-3:0/2", "0-3:3/2", "0-3:1", "0-3:1/0", "1-2-3", "0x1"} {
		if got, err := ParseCPUs(bad, -1); err == nil {
			t.Errorf("%q is taken for %s", bad, got)
		}
	}
}

func FuzzParseCPUs(f *testing.F) {
	for _, s := range []string{"0-3,8", "all", "0-31:2/8", "N", "8191", "0-8191,0-8191", ":/", "-"} {
		f.Add(s, 7)
	}
	f.Fuzz(func(t *testing.T, text string, last int) {
		got, err := ParseCPUs(text, min(last, cpusMax-1))
		if err != nil {
			return
		}
		if !slices.IsSorted(got) || len(got) > cpusMax || len(got) > 0 && (got[0] < 0 || got[len(got)-1] >= cpusMax) {
			t.Fatalf("%q: %v", text, got)
		}
		again, err := ParseCPUs(got.String(), -1)
		if err != nil || !slices.Equal(again, got) {
			t.Fatalf("%q: %s is read as %s, %v", text, got, again, err)
		}
	})
}

// TestProbeDirectReadsThisHost compares with what the kernel says by other ways.
func TestProbeDirectReadsThisHost(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the kernel is not Linux")
	}
	d := ProbeDirect(os.DirFS("/"), nil, os.Getpid())
	if len(d.Online) < runtime.NumCPU() || d.Release == "" || d.MemlockBytes < 0 {
		t.Errorf("got %+v", d)
	}
	for name, got := range d.Sysctl {
		b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		if want := strings.TrimSpace(string(b)); err != nil || strconv.FormatInt(got, 10) != want {
			t.Errorf("%s is %d, the file says %q (%v)", name, got, want, err)
		}
	}
	if _, known := d.Sysctl["vm.swappiness"]; !known {
		t.Error("vm.swappiness was not read")
	}
	for _, g := range d.Governors {
		if !d.Online.has(g.CPU) {
			t.Errorf("governor of CPU %d, which is not online", g.CPU)
		}
	}
	d.Kernel = AskKernel()
	if !d.Kernel.Asked {
		t.Error("the kernel was not asked")
	}
	if k := d.Kernel; k.Seal == nil && (k.SealWritable || k.SealNames != 0) {
		t.Errorf("memory was sealed, and could be written to or found: %+v", k)
	}
	for _, err := range []error{d.Kernel.FutexWaitv, d.Kernel.PeerPidfd} { // an old kernel or a filter, nothing else
		if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.ENOPROTOOPT) {
			t.Error(err)
		}
	}
	findings := Run(&Facts{Now: time.Now(), Host: Probe(""), Direct: d}, DirectGroup)
	if n := Count(findings, Skip); n > len(findings)/2 {
		t.Errorf("%d of %d checks are skipped on a real host: %+v", n, len(findings), findings)
	}
	for _, c := range findings {
		t.Logf("%-4s %s %s", c.State, c.Code, c.Text)
	}
}

// TestAskingTheKernelLeavesNothingOpen: the questions make descriptors.
func TestAskingTheKernelLeavesNothingOpen(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	AskKernel()
	before := count()
	for range 10 {
		AskKernel()
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
