package check

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// directRmemBytes holds 20 ms of 1,000,000 small packets a second: the kernel
	// accounts about 768 bytes for each.
	directRmemBytes = 16 << 20
	// directWmemBytes is one sendmmsg of 64 batches of 64 KiB.
	directWmemBytes = 4 << 20
	// directMemlockBytes is a number of rings of some MiB each.
	directMemlockBytes = 1 << 30
	// directClockError is what a one-way time between two hosts may be wrong by.
	directClockError = time.Millisecond
	directSwappiness = 1
)

var directMemoryChecks = []Check{
	{"FIRE-DIRECT-020", "direct", "memory can be sealed for its readers",
		"Rings are memfds whose seals (F_SEAL_FUTURE_WRITE, Linux 5.1) keep a reader from writing and a writer from shrinking them; without, nothing attaches. They have no name in a file system, so RemoveIPC= of systemd-logind never removes one.",
		"uname -r; sysctl vm.memfd_noexec # Linux 5.1 or newer, vm.memfd_noexec below 2, and a seccomp profile (of a container) that allows memfd_create and fcntl",
		needAnswer(func(k *Features) verdict {
			switch {
			case k.Seal != nil:
				return fail("%v", k.Seal)
			case k.SealWritable:
				return fail("sealed memory was mapped for writing once more: the kernel takes the seal and does not keep it")
			case k.SealNames != 0:
				return warn("sealed memory has %d names in a file system; whoever finds one may remove it", k.SealNames)
			}
			return ok("made, sealed and tried; it has no name that RemoveIPC could remove")
		})},
	{"FIRE-DIRECT-021", "direct", "memory can be locked",
		"The direct node locks the rings ([direct] lock), and programs what they use (mlockall), so that no page is missing when a message comes; beyond RLIMIT_MEMLOCK that fails.",
		"echo '* - memlock unlimited' > /etc/security/limits.d/fire.conf # for logins; in a unit LimitMEMLOCK=infinity, as `fire unit direct` has it",
		needDirect(func(_ *Facts, d *Direct) verdict {
			switch n := d.MemlockBytes; {
			case n < 0:
				return skip("the limits of %s cannot be read", d.MemlockOf)
			case n < directMemlockBytes:
				return warn("%s may lock %d KiB", d.MemlockOf, n>>10)
			case n == 1<<62:
				return ok("%s has no limit", d.MemlockOf)
			default:
				return ok("%s may lock %d MiB", d.MemlockOf, n>>20)
			}
		})},
	{"FIRE-DIRECT-022", "direct", "rings get huge pages",
		"A ring of many MiB in pages of 4 KiB misses the TLB; shared memory has huge pages only when shmem_enabled lets it. Reserved huge pages (vm.nr_hugepages) are for others: sealed rings do not take them.",
		sysfsFix("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "within_size"),
		needDirect(func(_ *Facts, d *Direct) verdict {
			reserved := ""
			if d.HugeReserved >= 0 {
				reserved = fmt.Sprintf("; reserved and free: %d", d.HugeReserved)
			}
			switch m := d.HugeShared; m {
			case "":
				return skip("this kernel has no transparent huge pages for shared memory%s", reserved)
			case "always", "within_size", "force":
				return ok("shmem_enabled is %s%s", m, reserved)
			default:
				return warn("shmem_enabled is %s%s", m, reserved)
			}
		})},
	{"FIRE-DIRECT-023", "direct", "huge pages are not forced on programs",
		"With the mode always, the kernel compacts memory while a program waits for a page, and moves its pages behind its back.",
		sysfsFix("/sys/kernel/mm/transparent_hugepage/enabled", "madvise"),
		needDirect(func(_ *Facts, d *Direct) verdict {
			switch d.HugePage {
			case "":
				return skip("this kernel has no transparent huge pages")
			case "always":
				return warn("transparent_hugepage/enabled is always")
			default:
				return ok("transparent_hugepage/enabled is %s", d.HugePage)
			}
		})},
	{"FIRE-DIRECT-024", "direct", "rings are not swapped out",
		"A ring is memory that the kernel may swap out like any other, unless a program has locked it; bringing a page back takes milliseconds.",
		"swapoff -a && sed -i '/\\sswap\\s/s/^/#/' /etc/fstab # or keep the swap and " + sysctlFix("vm.swappiness=1"),
		needDirect(func(_ *Facts, d *Direct) verdict {
			eager, known := d.Sysctl["vm.swappiness"]
			switch {
			case d.SwapBytes < 0 || !known:
				return skip("/proc/meminfo or vm.swappiness cannot be read")
			case d.SwapBytes > 0 && eager > directSwappiness:
				return warn("%d MiB of swap, vm.swappiness is %d", d.SwapBytes>>20, eager)
			case d.SwapBytes == 0:
				return ok("there is no swap")
			}
			return ok("vm.swappiness is %d", eager)
		})},
}

var directNetworkChecks = []Check{
	{"FIRE-DIRECT-030", "direct", "a burst of packets fits the receive buffer",
		"A socket's buffer is what a burst of market data waits in while its reader is away; beyond net.core.rmem_max it is lost.",
		sysctlFix("net.core.rmem_max=16777216"),
		needDirect(func(f *Facts, _ *Direct) verdict { return atLeast(f.Host.RmemMaxBytes, directRmemBytes) })},
	{"FIRE-DIRECT-031", "direct", "a batch of packets fits the send buffer",
		"Packets are handed to the kernel in batches; a buffer that net.core.wmem_max keeps small takes a part of one.",
		sysctlFix("net.core.wmem_max=4194304"),
		needDirect(func(f *Facts, _ *Direct) verdict { return atLeast(f.Host.WmemMaxBytes, directWmemBytes) })},
	{"FIRE-DIRECT-032", "direct", "a reader may poll the network card",
		"With net.core.busy_read a thread that reads a socket asks the card itself and waits for no interrupt; without it a socket needs CAP_NET_ADMIN to ask for that. It costs processor time wherever sockets are read, and on loopback it helps nobody.",
		sysctlFix("net.core.busy_read=50"),
		needDirect(func(_ *Facts, d *Direct) verdict {
			switch n, known := d.Sysctl["net.core.busy_read"]; {
			case !known:
				return skip("this kernel cannot poll cards (CONFIG_NET_RX_BUSY_POLL)")
			case n == 0:
				return warn("net.core.busy_read is 0")
			default:
				return ok("%d us", n)
			}
		})},
	{"FIRE-DIRECT-033", "direct", "the kernel sends UDP batches whole",
		"Linux 7.0 to 7.1.4 mangles segments of UDP batches (GSO) with some drivers: packets are lost or wrong. A distributor may have mended it under the same number.",
		"mkdir -p /etc/systemd/system/fire-.service.d && printf '[Service]\\nEnvironment=QUIC_GO_DISABLE_GSO=true\\n' > /etc/systemd/system/fire-.service.d/gso.conf && systemctl daemon-reload # then restart fire's units; not needed with Linux 7.1.5 or newer",
		needDirect(func(_ *Facts, d *Direct) verdict {
			v, known := release(d.Release)
			switch {
			case !known:
				return skip("the kernel's release %q is no version", d.Release)
			case slices.Compare(v[:], []int{7, 0, 0}) >= 0 && slices.Compare(v[:], []int{7, 1, 4}) <= 0:
				return warn("Linux %s", d.Release)
			}
			return ok("Linux %s", d.Release)
		})},
}

var directKernelChecks = []Check{
	{"FIRE-DIRECT-040", "direct", "time is read from the processor",
		"Every message is stamped. kvm-clock takes longer than the TSC, hpet and acpi_pm a system call and a microsecond.",
		"echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource && " + bootLine("clocksource=tsc") + bootElsewhere,
		needDirect(func(f *Facts, d *Direct) verdict {
			switch s := f.Host.ClockSource; {
			case s == "":
				return skip("the clock source cannot be read")
			case s == "tsc" || s == "arch_sys_counter":
				return ok("%s", s)
			case !slices.Contains(strings.Fields(d.ClockSources), "tsc"):
				return warn("%s; the kernel does not offer tsc: it found it unstable (`dmesg | grep -i tsc`), or the hypervisor hides it", s)
			default:
				return warn("%s, though the kernel offers tsc", s)
			}
		})},
	{"FIRE-DIRECT-041", "direct", "one-way times between hosts mean something",
		"Latency of a message between two hosts is the difference of two clocks; it is no better than they are.",
		"systemctl enable --now chronyd # chrony on Debian; with a server on the LAN, or better ptp4l and phc2sys with the card's hardware clock",
		needDirect(func(f *Facts, _ *Direct) verdict {
			switch h := f.Host; {
			case h.ClockSynced < 0:
				return skip("the kernel does not say")
			case h.ClockSynced == 0:
				return warn("nobody keeps the clock")
			case h.ClockMaxError > directClockError:
				return warn("the clock may be off by %v", h.ClockMaxError.Round(time.Microsecond))
			default:
				return ok("within %v", h.ClockMaxError.Round(time.Microsecond))
			}
		})},
	{"FIRE-DIRECT-042", "direct", "a reader that goes to sleep can fence its writers",
		"Writers pay no fence per message, because a reader that is about to sleep has all of them fenced by membarrier(GLOBAL_EXPEDITED), Linux 4.16. Without it a sleeping reader looks for itself once a millisecond.",
		"uname -r # Linux 4.16 or newer with CONFIG_MEMBARRIER, and a seccomp profile that allows membarrier; until then wait = \"spin\" in [channel.NAME]",
		needAnswer(func(k *Features) verdict { return answer(k.Membarrier) })},
	{"FIRE-DIRECT-043", "direct", "one thread can wait for several rings",
		"A thread sleeps on several rings at once by futex_waitv, Linux 5.16. fire's own readers take a thread each and do without; programs that wait for several rings need it.",
		"uname -r # Linux 5.16 or newer, and a seccomp profile that allows futex_waitv",
		needAnswer(func(k *Features) verdict { return answer(k.FutexWaitv) })},
	{"FIRE-DIRECT-044", "direct", "a peer's process is known beyond doubt",
		"SO_PEERPIDFD, Linux 6.5, holds on to the process that attached. Without it the direct node goes by the process's number, which the kernel may give to another one in between.",
		"uname -r # Linux 6.5 or newer; until then name executables in [program.NAME] of mesh.toml, too",
		needAnswer(func(k *Features) verdict { return answer(k.PeerPidfd) })},
}

// needAnswer is a judge of what the kernel answered.
func needAnswer(judge func(*Features) verdict) func(*Facts) verdict {
	return needDirect(func(_ *Facts, d *Direct) verdict {
		if !d.Kernel.Asked {
			return skip("the kernel was not asked")
		}
		return judge(&d.Kernel)
	})
}

func answer(err error) verdict {
	if err != nil {
		return warn("%v", err)
	}
	return ok("")
}

func atLeast(n, want int64) verdict {
	switch {
	case n < 0:
		return skip("the limit cannot be read")
	case n < want:
		return warn("%d KiB, the direct path wants %d KiB", n>>10, want>>10)
	}
	return ok("%d KiB", n>>10)
}

// release is the first three numbers of a kernel's release: 7.1.0-rc3-foo, 6.18.44.
func release(s string) (v [3]int, known bool) {
	n, err := fmt.Sscanf(s, "%d.%d.%d", &v[0], &v[1], &v[2])
	return v, n >= 2 && (err == nil || n == 2)
}
