package check

import (
	"fmt"
	"slices"
	"strings"
)

// idleWakeMicrosMax is what C1 takes to wake; what sleeps deeper takes tens to hundreds.
const idleWakeMicrosMax = 2

// needDirect is a judge that needs the look at this host.
func needDirect(judge func(*Facts, *Direct) verdict) func(*Facts) verdict {
	return func(f *Facts) verdict {
		if f.Direct == nil {
			return skip("this host was not looked at for the direct path")
		}
		return judge(f, f.Direct)
	}
}

// needHot is a judge of the cores on which threads spin.
func needHot(judge func(d *Direct, hot CPUs) verdict) func(*Facts) verdict {
	return needDirect(func(_ *Facts, d *Direct) verdict {
		hot := d.hot()
		if len(hot) == 0 {
			return skip("no core is isolated, nor one that is online named by --cpus: nobody knows where threads spin")
		}
		return judge(d, hot)
	})
}

var directCoreChecks = []Check{
	{"FIRE-DIRECT-001", "direct", "there are cores to spin on",
		"Publisher and subscriber spin on a core each; with fewer than three cores everything else of the host waits behind them.",
		"lscpu -e # give the host three cores or more, or set wait = \"adaptive\" in [channel.NAME] of the floor file, so that readers sleep",
		needDirect(func(_ *Facts, d *Direct) verdict {
			switch n := len(d.Online); {
			case n == 0:
				return skip("%s cannot be read", "/"+sysCPU+"/online")
			case n < 3:
				return warn("%d online", n)
			default:
				return ok("%d online", n)
			}
		})},
	{"FIRE-DIRECT-002", "direct", "cores are kept for threads that spin",
		"The scheduler puts other work on every core that is not isolated; a thread that is pushed aside waits for milliseconds.",
		bootFix("isolcpus=managed_irq,domain,HOT nohz_full=HOT rcu_nocbs=HOT") + placesTold,
		needDirect(func(_ *Facts, d *Direct) verdict {
			absent, shared := d.Named.without(d.Online), d.Named.without(d.Isolated)
			switch {
			case len(d.Online) == 0:
				return skip("%s cannot be read", "/"+sysCPU+"/online")
			case len(absent) > 0:
				return fail("CPU %s of --cpus is not online", absent)
			case len(d.Isolated) == 0:
				return warn("none is isolated")
			case len(shared) > 0:
				return warn("CPU %s of --cpus is not isolated; isolated are %s", shared, d.Isolated)
			}
			return ok("isolated: %s", d.Isolated)
		})},
	{"FIRE-DIRECT-003", "direct", "no timer tick interrupts the spinning cores",
		"Without nohz_full the scheduler's tick stops a spinning thread 100 to 1000 times a second, some microseconds each time.",
		bootFix("nohz_full=HOT") + placesTold,
		needHot(func(d *Direct, hot CPUs) verdict {
			ticking := hot.without(d.TickStopped)
			switch {
			case !d.TickKernel:
				return warn("this kernel is built without CONFIG_NO_HZ_FULL; another one is needed")
			case len(ticking) > 0:
				return warn("CPU %s has the tick", ticking)
			}
			return ok("%s", hot)
		})},
	{"FIRE-DIRECT-004", "direct", "the spinning cores run no callbacks of the kernel",
		"RCU callbacks run on the core that queued them, in bursts; rcu_nocbs hands them to threads that run elsewhere.",
		bootFix("rcu_nocbs=HOT") + placesTold,
		needHot(func(d *Direct, hot CPUs) verdict {
			if bad := hot.without(d.CallbackFree); len(bad) > 0 {
				return warn("CPU %s runs them", bad)
			}
			return ok("%s", hot)
		})},
	{"FIRE-DIRECT-005", "direct", "the spinning cores have no busy hyper-thread beside them",
		"Two hyper-threads share the units and first caches of one core: a busy sibling halves the speed of a thread that spins, and makes its latency vary.",
		sysfsFix("/sys/devices/system/cpu/smt/control", "off") + " # or pin to one CPU of each core, and leave its sibling idle",
		needDirect(func(_ *Facts, d *Direct) verdict { return d.sharing() })},
	{"FIRE-DIRECT-006", "direct", "the spinning cores are near to one memory",
		"A ring between two NUMA nodes costs two to three times the hand-over of one within a node.",
		"numactl --hardware # then pin publisher and subscriber to cores of one node, and look again with --cpus",
		needDirect(func(_ *Facts, d *Direct) verdict { return d.nearness() })},
	{"FIRE-DIRECT-007", "direct", "the kernel does not move memory between NUMA nodes",
		"NUMA balancing takes pages away to see who touches them; each costs a fault in the middle of a message.",
		sysctlFix("kernel.numa_balancing=0"),
		needDirect(func(_ *Facts, d *Direct) verdict {
			switch n, known := d.Sysctl["kernel.numa_balancing"]; {
			case !known:
				return skip("kernel.numa_balancing cannot be read")
			case n != 0 && len(d.Memories) > 1:
				return warn("kernel.numa_balancing is %d on %d NUMA nodes", n, len(d.Memories))
			default:
				return ok("kernel.numa_balancing is %d, NUMA nodes: %d", n, len(d.Memories))
			}
		})},
	{"FIRE-DIRECT-008", "direct", "cores keep their full frequency",
		"Another governor than performance lowers the frequency of a core and takes tens of microseconds and more to raise it again.",
		sysfsFix("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor", "performance"),
		needDirect(func(_ *Facts, d *Direct) verdict { return d.frequency() })},
	{"FIRE-DIRECT-009", "direct", "cores do not sleep deeply",
		"A core in C6 takes 100 us and more to wake; whoever waits by futex, and every interrupt, pays that.",
		sysfsFix("/sys/devices/system/cpu/cpu*/cpuidle/state[2-9]/disable", "1") + " # or the kernel arguments intel_idle.max_cstate=1 processor.max_cstate=1",
		needDirect(func(_ *Facts, d *Direct) verdict { return d.sleep() })},
	{"FIRE-DIRECT-010", "direct", "no device interrupts the spinning cores",
		"An interrupt's handler takes the core away for microseconds, and what it queues for longer.",
		"for i in /proc/irq/[0-9]*; do echo REST > $i/smp_affinity_list; done; " + bootLine("irqaffinity=REST") + bootElsewhere + "; where irqbalance runs, give it IRQBALANCE_BANNED_CPULIST=HOT" + placesTold,
		needHot(func(d *Direct, hot CPUs) verdict {
			if len(d.Interrupts) == 0 {
				return skip("/proc/irq cannot be read")
			}
			var bad []string
			var served CPUs
			for _, i := range d.Interrupts {
				if on := i.CPUs.and(hot); len(on) > 0 {
					bad = append(bad, i.Number+" ("+i.Name+")")
					served = served.or(on)
				}
			}
			if len(bad) > 0 {
				return warn("CPU %s serves %d of %d interrupts: %s", served, len(bad), len(d.Interrupts), names(bad))
			}
			return ok("%d interrupts are served elsewhere", len(d.Interrupts))
		})},
	{"FIRE-DIRECT-011", "direct", "no watchdog interrupts the spinning cores",
		"The hard-lockup watchdog holds a performance counter and fires an NMI on each core; the soft one wakes a thread there every few seconds.",
		"printf 'kernel.nmi_watchdog=0\\nkernel.watchdog_cpumask=REST\\n' >> /etc/sysctl.d/fire.conf && sysctl -p /etc/sysctl.d/fire.conf" + placesTold,
		needDirect(func(_ *Facts, d *Direct) verdict {
			nmi, known := d.Sysctl["kernel.nmi_watchdog"]
			watched := d.WatchdogCPUs.and(d.hot())
			switch {
			case !known && len(d.WatchdogCPUs) == 0:
				return skip("kernel.nmi_watchdog cannot be read")
			case nmi != 0:
				return warn("kernel.nmi_watchdog is %d", nmi)
			case d.Sysctl["kernel.watchdog"] != 0 && len(watched) > 0:
				return warn("the watchdog runs on CPU %s", watched)
			}
			return ok("")
		})},
	{"FIRE-DIRECT-012", "direct", "the scheduler does not group by session",
		"With autogroup the nice value of a program counts only within its session; a shell's compiler is as important as a trading program.",
		sysctlFix("kernel.sched_autogroup_enabled=0"),
		needDirect(func(_ *Facts, d *Direct) verdict {
			switch n, known := d.Sysctl["kernel.sched_autogroup_enabled"]; {
			case !known:
				return skip("this kernel has no autogroup")
			case n != 0 && len(d.hot().without(d.Isolated)) == 0 && len(d.hot()) > 0:
				return ok("on, and of no weight on isolated cores")
			case n != 0:
				return warn("kernel.sched_autogroup_enabled is %d", n)
			default:
				return ok("")
			}
		})},
	{"FIRE-DIRECT-013", "direct", "the real-time limit fits the cores",
		"A spinning thread of class SCHED_FIFO is stopped for 50 ms of each second by the default limit. Without the limit, on a core that is not isolated, it starves the kernel's own threads. It concerns nobody who spins in the usual class.",
		sysctlFix("kernel.sched_rt_runtime_us=-1") + " # where cores are isolated; where none is, the default of 950000",
		needDirect(func(_ *Facts, d *Direct) verdict {
			n, known := d.Sysctl["kernel.sched_rt_runtime_us"]
			switch {
			case !known:
				return skip("kernel.sched_rt_runtime_us cannot be read")
			case n < 0 && len(d.Isolated) == 0:
				return warn("there is no limit, and no core is isolated: a real-time thread that spins can hang the host")
			case n >= 0 && len(d.Isolated) > 0:
				return warn("kernel.sched_rt_runtime_us is %d although cores are isolated", n)
			case n < 0:
				return ok("no limit, cores are isolated")
			}
			return ok("%d us of each period", n)
		})},
}

// sharing judges hyper-threads: a hot one whose sibling runs something else.
func (d *Direct) sharing() verdict {
	hot := d.hot()
	var bad []string
	for _, core := range d.SharedCores {
		mine := core.and(hot)
		switch others := core.without(hot); {
		case len(hot) == 0 || len(mine) > 1: // two of those who spin, or anybody
			bad = append(bad, core.String())
		case len(mine) == 1 && len(others.without(d.Isolated)) > 0:
			bad = append(bad, core.String())
		}
	}
	switch {
	case len(d.Online) == 0:
		return skip("the cores of this host cannot be read")
	case len(d.SharedCores) == 0:
		return ok("no two CPUs share a core")
	case len(bad) > 0 && len(hot) == 0:
		return warn("CPUs share a core (%s), and the two ends of a ring may be put there", several(bad))
	case len(bad) > 0:
		return warn("CPUs share a core: %s", several(bad))
	}
	return ok("siblings of %s are idle", hot)
}

// several joins lists of CPUs, which have commas themselves.
func several(lists []string) string {
	quoted := make([]string, len(lists))
	for i, l := range lists {
		quoted[i] = "[" + l + "]"
	}
	const shown = 4
	if len(quoted) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(quoted[:shown], " "), len(quoted)-shown)
	}
	return strings.Join(quoted, " ")
}

// nearness judges whether the hot cores are of one NUMA node.
func (d *Direct) nearness() verdict {
	var used []MemoryNode
	far := 0
	for _, m := range d.Memories {
		if len(m.CPUs.and(d.concerned())) > 0 { // others have memory only
			used = append(used, m)
		}
	}
	for _, a := range used {
		for _, b := range used {
			// distances stand in the order of the nodes that are online
			if at := slices.IndexFunc(d.Memories, func(m MemoryNode) bool { return m.ID == b.ID }); at < len(a.Distances) {
				far = max(far, a.Distances[at])
			}
		}
	}
	switch {
	case len(d.Memories) == 0:
		return skip("this kernel tells of no NUMA node")
	case len(d.Memories) == 1:
		return ok("one NUMA node")
	case len(used) == 0:
		return skip("no NUMA node says that it has CPU %s", d.concerned())
	case len(used) == 1:
		return ok("CPU %s, all of node %d", d.concerned(), used[0].ID)
	case len(d.hot()) == 0:
		return warn("%d NUMA nodes, distance up to %d (local is 10), and the two ends of a ring may be put on different ones", len(used), far)
	}
	return warn("CPU %s lies on %d NUMA nodes, distance up to %d (local is 10)", d.hot(), len(used), far)
}

// concerned is the hot cores, or all.
func (d *Direct) concerned() CPUs {
	if hot := d.hot(); len(hot) > 0 {
		return hot
	}
	return d.Online
}

func (d *Direct) frequency() verdict {
	if len(d.Governors) == 0 {
		return skip("the kernel does not control the frequency; the firmware or the hypervisor does")
	}
	bad := map[string]CPUs{}
	for _, g := range d.Governors {
		if g.Name != "performance" && d.concerned().has(g.CPU) {
			bad[g.Name] = append(bad[g.Name], g.CPU)
		}
	}
	var list []string
	for name, cpus := range bad {
		list = append(list, name+" on CPU "+cpus.String())
	}
	if len(list) > 0 {
		return warn("%s", names(list))
	}
	return ok("performance")
}

func (d *Direct) sleep() verdict {
	if d.PollIdle {
		return ok("idle=poll: they do not sleep at all")
	}
	if d.IdleDriver == "" && len(d.IdleStates) == 0 {
		return skip("the kernel has no idle driver; the hypervisor or the firmware decides")
	}
	var worst IdleState
	for _, s := range d.IdleStates {
		if d.concerned().has(s.CPU) && s.WakeMicros >= worst.WakeMicros {
			worst = s
		}
	}
	text := fmt.Sprintf("%s lets CPU %d use %s, which wakes in %d us", d.IdleDriver, worst.CPU, worst.Name, worst.WakeMicros)
	switch {
	case worst.Name == "":
		return ok("no idle state is enabled")
	case worst.WakeMicros > idleWakeMicrosMax:
		return warn("%s", text)
	}
	return ok("%s", text)
}
