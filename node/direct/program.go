package direct

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"fire/policy/reason"

	"golang.org/x/sys/unix"
)

// process is who is at the other end of a socket, as the kernel says.
type process struct {
	pid, uid, gid int
	user          string // its name, or the number when it has none
	executable    string
	unit          string   // of systemd; empty when it runs in none
	fd            *os.File // pidfd: readable when the process has ended
}

const soPeerPIDFD = 77 // SO_PEERPIDFD, Linux 6.5

// identify asks the kernel who connected. What /proc says is believed only when the
// process is still the one that connected: its pidfd says so afterwards.
func identify(c *net.UnixConn) (*process, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	fd := -1
	var credErr, fdErr error
	err = raw.Control(func(s uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(s), unix.SOL_SOCKET, unix.SO_PEERCRED)
		fd, fdErr = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, soPeerPIDFD)
	})
	if err := errors.Join(err, credErr); err != nil {
		return nil, err
	}
	if errors.Is(fdErr, unix.ENOPROTOOPT) {
		// Before Linux 6.5: a pid that was reused between connect and here is told apart by
		// nothing but the executable, which must match anyway.
		fd, fdErr = unix.PidfdOpen(int(cred.Pid), 0)
	}
	if fdErr != nil {
		return nil, fmt.Errorf("process %d has ended: %w", cred.Pid, fdErr)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	p := &process{pid: int(cred.Pid), uid: int(cred.Uid), gid: int(cred.Gid), fd: os.NewFile(uintptr(fd), "pidfd")}
	if err := p.look(); err != nil {
		return nil, errors.Join(err, p.fd.Close())
	}
	return p, nil
}

func (p *process) look() error {
	proc := "/proc/" + strconv.Itoa(p.pid)
	exe, err := os.Readlink(proc + "/exe")
	if err != nil {
		return fmt.Errorf("the executable of process %d: %w; the direct node must be of the same user or have CAP_SYS_PTRACE", p.pid, err)
	}
	groups, err := os.ReadFile(proc + "/cgroup")
	if err != nil {
		return err
	}
	p.executable, p.unit, p.user = exe, unitOf(string(groups)), strconv.Itoa(p.uid)
	if u, err := user.LookupId(p.user); err == nil {
		p.user = u.Username
	}
	if p.ended() {
		return fmt.Errorf("process %d has ended", p.pid)
	}
	return nil
}

// ended asks without waiting.
func (p *process) ended() bool { return hasEnded(int(p.fd.Fd())) }

// hasEnded asks a pidfd. A signal that comes between, as the runtime's own do, says nothing.
func hasEnded(pidfd int) bool {
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 0); err != unix.EINTR {
			return err != nil || n > 0
		}
	}
}

// unitOf finds the outermost unit in /proc/PID/cgroup (cgroup v2: one line "0::/path").
// What lies deeper may be named by whoever runs there.
func unitOf(groups string) string {
	for line := range strings.Lines(groups) {
		at, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for part := range strings.SplitSeq(at, "/") {
			if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
				return part
			}
		}
	}
	return ""
}

func (p *process) String() string {
	s := fmt.Sprintf("process %d of user %s, executable %s", p.pid, p.user, p.executable)
	if p.unit != "" {
		s += ", unit " + p.unit
	}
	return s
}

// matches tells whether the process is what the table says.
func (t *Program) matches(p *process) bool {
	user := slices.Contains(t.Users, p.user) || slices.Contains(t.Users, strconv.Itoa(p.uid))
	return (len(t.Users) == 0 || user) &&
		(len(t.Executables) == 0 || slices.Contains(t.Executables, p.executable)) &&
		(len(t.Units) == 0 || slices.Contains(t.Units, p.unit)) &&
		len(t.Users)+len(t.Units) > 0
}

// serviceOf is the service that the process is: the asked one, or else the only one.
func serviceOf(programs map[string]Program, p *process, asked string) (string, error) {
	if asked != "" {
		t, ok := programs[asked]
		if !ok {
			return "", reason.New(reason.ProgramUnknown, "%s asks to be service %s, and no [program.%s] of this host says who that is", p, asked, asked)
		}
		if !t.matches(p) {
			return "", reason.New(reason.ProgramUnknown, "%s is not what [program.%s] of this host says", p, asked)
		}
		return asked, nil
	}
	var all []string
	for name, t := range programs {
		if t.matches(p) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		return "", reason.New(reason.ProgramUnknown, "%s matches no [program.NAME] of this host", p)
	}
	return "", reason.New(reason.ProgramUnknown, "%s may be any of %s: it must say which", p, strings.Join(all, ", "))
}
