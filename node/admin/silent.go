package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Holder says which process listens at a socket, and whether it is stopped. pid 0: nobody
// knows. The kernel answers, also for a process that hangs.
func Holder(ctx context.Context, path string) (pid int, stopped bool) {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return 0, false
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, false
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil || err != nil {
		return 0, false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cred.Pid))
	if err != nil {
		return int(cred.Pid), false
	}
	_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return int(cred.Pid), strings.HasPrefix(state, "T") || strings.HasPrefix(state, "t")
}

// Ended lists the admin sockets in the runtime folders whose process has ended without
// removing them.
func Ended(ctx context.Context) (out []string) {
	for _, dir := range RuntimeDirs() {
		found, _ := filepath.Glob(filepath.Join(dir, "*.sock"))
		for _, p := range found {
			if errors.Is(probe(ctx, p), syscall.ECONNREFUSED) {
				out = append(out, p)
			}
		}
	}
	return out
}
