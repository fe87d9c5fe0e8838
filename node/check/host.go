package check

import "time"

var hostChecks = []Check{
	{"FIRE-HOST-001", "host", "the system is Linux",
		"fire's data path, peer credentials and shared pages are written for Linux.",
		"Run fire on Linux; other systems can only use the verbs that ask a remote process.",
		func(f *Facts) verdict {
			if f.Host.OS != "linux" {
				return fail("this is %s", f.Host.OS)
			}
			return ok("")
		}},
	{"FIRE-HOST-002", "host", "enough files may be open",
		"Each connection takes two or more descriptors; at the limit new connections are refused.",
		"Set LimitNOFILE=1048576 in the unit (`fire unit` has it), or raise `ulimit -n`.",
		func(f *Facts) verdict {
			n := f.Host.OpenFilesHard
			if f.Info != nil && f.Info.OpenFilesMax > 0 {
				n = int64(min(f.Info.OpenFilesMax, 1<<62))
			}
			switch {
			case n < 0:
				return skip("the limit cannot be read")
			case n < 4096:
				return fail("the limit is %d, at least 4096 are needed", n)
			case n < 65536:
				return warn("the limit is %d; a busy proxy wants 65536 or more", n)
			}
			return ok("%d", n)
		}},
	{"FIRE-HOST-003", "host", "UDP receive buffers may be large",
		"QUIC drops packets in bursts when net.core.rmem_max keeps its socket's buffer small.",
		"sysctl -w net.core.rmem_max=7500000, and put it in /etc/sysctl.d/fire.conf.",
		func(f *Facts) verdict { return buffer(f.Host.RmemMaxBytes) }},
	{"FIRE-HOST-004", "host", "UDP send buffers may be large",
		"QUIC waits for the kernel when net.core.wmem_max keeps its socket's buffer small.",
		"sysctl -w net.core.wmem_max=7500000, and put it in /etc/sysctl.d/fire.conf.",
		func(f *Facts) verdict { return buffer(f.Host.WmemMaxBytes) }},
	{"FIRE-HOST-005", "host", "the listen queue is long enough",
		"A short queue (net.core.somaxconn) refuses connections when many clients reconnect at once.",
		"sysctl -w net.core.somaxconn=4096.",
		func(f *Facts) verdict {
			switch n := f.Host.ListenQueueMax; {
			case n < 0:
				return skip("net.core.somaxconn cannot be read")
			case n < 1024:
				return warn("net.core.somaxconn is %d", n)
			default:
				return ok("%d", n)
			}
		}},
	{"FIRE-HOST-006", "host", "enough local ports for outgoing connections",
		"The proxy dials local applications; a small net.ipv4.ip_local_port_range runs out under load.",
		`sysctl -w net.ipv4.ip_local_port_range="15000 65000", away from the ports that you listen on.`,
		func(f *Facts) verdict {
			switch n := f.Host.LocalPorts; {
			case n < 0:
				return skip("net.ipv4.ip_local_port_range cannot be read")
			case n < 10000:
				return warn("%d ports", n)
			default:
				return ok("%d ports", n)
			}
		}},
	{"FIRE-HOST-007", "host", "memory is left",
		"When memory runs out the kernel kills processes, and the proxy may be one.",
		"Find what uses it, or add memory; the unit's OOMScoreAdjust=-500 makes fire a late victim.",
		func(f *Facts) verdict {
			switch n := f.Host.MemFreeBytes; {
			case n < 0:
				return skip("/proc/meminfo cannot be read")
			case n < 64<<20:
				return fail("%d MiB are available", n>>20)
			case n < 256<<20:
				return warn("%d MiB are available", n>>20)
			default:
				return ok("%d MiB available", n>>20)
			}
		}},
	{"FIRE-HOST-008", "host", "nothing is swapped out",
		"A swapped page costs milliseconds at the worst moment.",
		"swapoff -a, or find what pushed memory out.",
		func(f *Facts) verdict {
			switch n := f.Host.SwapUsedBytes; {
			case n < 0:
				return skip("/proc/meminfo cannot be read")
			case n > 64<<20:
				return warn("%d MiB are in swap", n>>20)
			default:
				return ok("")
			}
		}},
	{"FIRE-HOST-009", "host", "the state folder is there and private",
		"Keys lie in it; a folder that others may read gives them away, one that cannot be written loses state.",
		"chmod 0700 the folder and give it to fire's user; systemd's StateDirectory= does both.",
		func(f *Facts) verdict {
			switch h := f.Host; {
			case h.Dir == "":
				return skip("the folder is not known: no process and no mesh.toml tells it")
			case h.DirErr != "":
				return warn("%s", h.DirErr)
			case h.DirMode&0o077 != 0:
				return fail("%s has mode %04o", h.Dir, h.DirMode)
			default:
				return ok("%s", h.Dir)
			}
		}},
	{"FIRE-HOST-010", "host", "the disk of the state folder has room",
		"A full disk stops control from acknowledging changes, and a node from keeping its snapshot.",
		"Free space in the file system of the state folder.",
		func(f *Facts) verdict {
			switch n := f.Host.DirFreeBytes; {
			case f.Host.Dir == "" || n < 0:
				return skip("the folder is not known or cannot be read")
			case n < 64<<20:
				return fail("%d MiB are free", n>>20)
			case n < 1<<30:
				return warn("%d MiB are free", n>>20)
			default:
				return ok("%d GiB free", n>>30)
			}
		}},
	{"FIRE-HOST-011", "host", "the runtime folder can be used",
		"The admin socket and the meter page are made there.",
		"Make the folder, or name another with FIRE_RUNTIME_DIR; systemd's RuntimeDirectory=fire does it.",
		func(f *Facts) verdict {
			if f.Host.RuntimeDirErr != "" {
				return warn("%s", f.Host.RuntimeDirErr)
			}
			return ok("%s", f.Host.RuntimeDir)
		}},
	{"FIRE-HOST-012", "host", "UDP works on this host",
		"The mesh runs over QUIC; a security profile or an exhausted table may forbid UDP sockets.",
		"Look at the unit's RestrictAddressFamilies, the firewall of the loopback device and `ss -u`.",
		func(f *Facts) verdict {
			if f.Host.LoopbackUDPErr != "" {
				return fail("%s", f.Host.LoopbackUDPErr)
			}
			return ok("")
		}},
}

// bufferBytesWanted is what quic-go asks of the kernel (sys_conn_buffers.go).
const bufferBytesWanted = 7 << 20

func buffer(n int64) verdict {
	switch {
	case n < 0:
		return skip("the limit cannot be read")
	case n < bufferBytesWanted:
		return warn("%d KiB, QUIC asks for %d KiB", n>>10, bufferBytesWanted>>10)
	}
	return ok("%d KiB", n>>10)
}

// Clock bounds: leaves are back-dated five minutes, and leases are told in
// control's time.
const (
	clockErrorWarn = 100 * time.Millisecond
	skewWarn       = time.Second
	skewFail       = 4 * time.Minute
)

var clockChecks = []Check{
	{"FIRE-CLOCK-001", "clock", "the clock is kept by NTP or PTP",
		"An unkept clock drifts by seconds a day, and certificates are judged by it.",
		"Run chrony, ntpd, systemd-timesyncd or ptp4l, and see `timedatectl` or `chronyc tracking`.",
		func(f *Facts) verdict {
			switch f.Host.ClockSynced {
			case 1:
				return ok("")
			case 0:
				return warn("the kernel says that nobody keeps it")
			}
			return skip("the kernel does not say")
		}},
	{"FIRE-CLOCK-002", "clock", "the clock's error is small",
		"The kernel's own bound on the clock's error is above 100 ms.",
		"Use nearer time servers; look at `chronyc sources`.",
		func(f *Facts) verdict {
			switch {
			case f.Host.ClockSynced != 1:
				return skip("the clock is not kept")
			case f.Host.ClockMaxError > clockErrorWarn:
				return warn("up to %v", f.Host.ClockMaxError.Round(time.Millisecond))
			}
			return ok("up to %v", f.Host.ClockMaxError.Round(time.Microsecond))
		}},
	{"FIRE-CLOCK-003", "clock", "the clock source is quick to read",
		"Without the TSC each reading of the time is a system call, and every request is timed.",
		"See /sys/devices/system/clocksource/clocksource0; in a guest ask for a stable TSC.",
		func(f *Facts) verdict {
			switch s := f.Host.ClockSource; s {
			case "":
				return skip("the source cannot be read")
			case "tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page":
				return ok("%s", s)
			default:
				return warn("%s", s)
			}
		}},
	{"FIRE-CLOCK-004", "clock", "this host agrees with control about the time",
		"A clock that is off by more than five minutes makes fresh certificates not yet valid.",
		"Set this host's or control's clock right; the nodes that agree with each other tell which is off.",
		needInfo(func(_ *Facts, i *infoT) verdict {
			return skew("", time.Duration(i.ClockSkewMS*float64(time.Millisecond)), i.Linked)
		})},
	{"FIRE-CLOCK-005", "clock", "all nodes agree with control about the time",
		"One host's clock is off; its certificates and leases will be refused.",
		"Set the clock of the named hosts right.",
		needStatus(func(_ *Facts, s *statusT) verdict {
			worst, at := time.Duration(0), ""
			for _, n := range s.Nodes {
				if d := time.Duration(n.ClockSkewMS * float64(time.Millisecond)).Abs(); n.Linked && d > worst {
					worst, at = d, n.Node
				}
			}
			return skew(at, worst, len(s.Nodes) > 0)
		})},
}

func skew(node string, d time.Duration, known bool) verdict {
	if node != "" {
		node += ": "
	}
	switch d = d.Abs(); {
	case !known:
		return skip("not linked to control")
	case d > skewFail:
		return fail("%soff by %v", node, d.Round(time.Millisecond))
	case d > skewWarn:
		return warn("%soff by %v", node, d.Round(time.Millisecond))
	}
	return ok("within %v", skewWarn)
}
