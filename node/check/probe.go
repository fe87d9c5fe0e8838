package check

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fire/node/admin"
)

// ProbeTimeout bounds all questions to one process.
const ProbeTimeout = 5 * time.Second

// Ask fills the facts that a running process knows.
func (f *Facts) Ask(ctx context.Context, a *admin.Client) {
	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	defer cancel()
	info, err := a.Info(ctx)
	if err != nil {
		f.AskErr = err
		return
	}
	f.Info = &info
	if s, err := a.Status(ctx); err != nil {
		f.StatusErr = err
	} else {
		f.Status = &s
	}
	if ca, err := a.CA(ctx); err != nil {
		f.CAErr = err
	} else {
		f.CA = &ca
	}
	f.Services, f.ServicesErr = a.Services(ctx)
	f.Edges, f.EdgesErr = a.Edges(ctx)
	f.Refusals, _ = a.Refusals(ctx) // a process without a proxy has none
}

// Probe reads what the kernel says about this host; dir is the state folder, or "".
func Probe(dir string) Host {
	h := Host{
		OS: runtime.GOOS, CPUs: runtime.NumCPU(), Dir: dir, DirFreeBytes: -1, ClockSynced: -1,
		OpenFilesSoft: -1, OpenFilesHard: -1, RuntimeDir: admin.RuntimeDir(),
		RmemMaxBytes:   number("/proc/sys/net/core/rmem_max"),
		WmemMaxBytes:   number("/proc/sys/net/core/wmem_max"),
		ListenQueueMax: number("/proc/sys/net/core/somaxconn"),
		LocalPorts:     portRange("/proc/sys/net/ipv4/ip_local_port_range"),
		ClockSource:    word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
	}
	h.memory("/proc/meminfo")
	h.kernel()
	h.folders()
	h.udp()
	return h
}

func word(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func number(path string) int64 {
	n, err := strconv.ParseInt(word(path), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func portRange(path string) int64 {
	var from, to int64
	if _, err := fmt.Sscan(word(path), &from, &to); err != nil {
		return -1
	}
	return to - from + 1
}

// memory reads the kB lines of meminfo (proc(5)).
func (h *Host) memory(path string) {
	lines := map[string]int64{}
	for line := range strings.Lines(word(path)) {
		name, rest, _ := strings.Cut(line, ":")
		if n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
			lines[name] = n << 10
		}
	}
	get := func(name string) int64 {
		if n, ok := lines[name]; ok {
			return n
		}
		return -1
	}
	h.MemBytes, h.MemFreeBytes, h.SwapUsedBytes = get("MemTotal"), get("MemAvailable"), -1
	if total, free := get("SwapTotal"), get("SwapFree"); total >= 0 && free >= 0 {
		h.SwapUsedBytes = total - free
	}
}

// folders looks at the state and runtime folders without making them.
func (h *Host) folders() {
	if h.Dir != "" {
		if st, err := os.Stat(h.Dir); err != nil {
			h.DirErr = err.Error()
		} else if !st.IsDir() {
			h.DirErr = h.Dir + " is no folder"
		} else {
			h.DirMode = uint32(st.Mode().Perm())
		}
		var fs unix.Statfs_t
		if unix.Statfs(h.Dir, &fs) == nil {
			h.DirFreeBytes = int64(fs.Bavail) * int64(fs.Bsize)
		}
	}
	switch st, err := os.Stat(h.RuntimeDir); {
	case os.IsNotExist(err): // the first start makes it
	case err != nil:
		h.RuntimeDirErr = err.Error()
	case !st.IsDir():
		h.RuntimeDirErr = h.RuntimeDir + " is no folder"
	}
}

// udp sends one packet to itself.
func (h *Host) udp() {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		h.LoopbackUDPErr = err.Error()
		return
	}
	defer c.Close()
	err = c.SetDeadline(time.Now().Add(time.Second))
	if err == nil {
		_, err = c.WriteTo([]byte("fire"), c.LocalAddr())
	}
	if err == nil {
		_, _, err = c.ReadFrom(make([]byte, 8))
	}
	if err != nil {
		h.LoopbackUDPErr = err.Error()
	}
}
