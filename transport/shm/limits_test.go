package shm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// limitsChild is the environment that makes TestLimitsChild the process with a limit, by
// its name.
const limitsChild = "FIRE_SHM_TEST_LIMIT"

// TestLimitsChild is no test: limits of a process cannot be taken back, so each has its own.
func TestLimitsChild(t *testing.T) {
	name := os.Getenv(limitsChild)
	if name == "" {
		t.Skip("run by the tests of limits")
	}
	limits[name](t)
}

var limits = map[string]func(t *testing.T){
	"file size": func(t *testing.T) {
		limit(t, unix.RLIMIT_FSIZE, 64<<10)
		_, err := CreateData(Spec{Name: "md-nyse", Discipline: Lane, Lines: 4096, Epoch: 1})
		if !errors.Is(err, unix.EFBIG) || !strings.Contains(err.Error(), "md-nyse") || !strings.Contains(err.Error(), "LimitFSIZE") {
			t.Error(err)
		}
		exchange(t) // a smaller one fits
	},
	"locked memory": func(t *testing.T) {
		limit(t, unix.RLIMIT_MEMLOCK, 128<<10)
		large, err := CreateData(Spec{Name: "md-nyse", Discipline: Lane, Lines: 4096, Epoch: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Pin(large); !errors.Is(err, ErrUnlocked) || !strings.Contains(err.Error(), "md-nyse") || !strings.Contains(err.Error(), "RLIMIT_MEMLOCK is 128 KiB; LimitMEMLOCK=infinity") {
			t.Error(err)
		}
		small, err := CreateData(Spec{Name: "md-nyse", Discipline: Lane, Lines: linesMin, Epoch: 1})
		if err != nil {
			t.Fatal(err)
		}
		for range 100 { // what is let go counts no more
			p, err := Pin(small)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(p.Close(), p.Close()); err != nil {
				t.Fatal(err)
			}
		}
		exchange(t) // rings need none of it
	},
	"address space": func(t *testing.T) {
		data, err := CreateData(Spec{Name: "md-nyse", Discipline: Lane, Lines: 1 << 20, Epoch: 1})
		if err != nil {
			t.Skip("64 MiB are not to be had:", err)
		}
		defer data.Close()
		var pages uint64
		if text, err := os.ReadFile("/proc/self/statm"); err != nil {
			t.Skip(err)
		} else if _, err := fmt.Sscan(string(text), &pages); err != nil {
			t.Fatal(err)
		}
		var was unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_AS, &was); err != nil {
			t.Fatal(err)
		}
		low := unix.Rlimit{Cur: pages*uint64(os.Getpagesize()) + 32<<20, Max: was.Max}
		if err := unix.Setrlimit(unix.RLIMIT_AS, &low); err != nil {
			t.Skip("the limit cannot be set:", err)
		}
		_, err = openRing(data, true)
		if err := unix.Setrlimit(unix.RLIMIT_AS, &was); err != nil { // the runtime wants some of it
			t.Fatal(err)
		}
		if !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), "md-nyse") || !strings.Contains(err.Error(), "smaller size") {
			t.Error(err)
		}
	},
	"descriptors": func(t *testing.T) {
		var none []*os.File
		limit(t, unix.RLIMIT_NOFILE, 32)
		for {
			f, err := os.Open(os.DevNull)
			if err != nil {
				break
			}
			none = append(none, f)
		}
		_, err := CreateData(Spec{Name: "md-nyse", Discipline: Lane, Lines: linesMin, Epoch: 1})
		if !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "md-nyse") || !strings.Contains(err.Error(), "LimitNOFILE") {
			t.Error(err)
		}
		for _, f := range none {
			f.Close()
		}
		exchange(t)
	},
	"no execution": func(t *testing.T) {
		const knob = "/proc/sys/vm/memfd_noexec"
		if err := os.WriteFile(knob, []byte("2"), 0); err != nil { // of this process namespace alone
			t.Skip("the kernel has no such limit, or lets nobody set it here:", err)
		}
		if fd, err := unix.MemfdCreate("any", unix.MFD_ALLOW_SEALING|unix.MFD_EXEC); err != unix.EACCES {
			t.Fatalf("%d, %v: the limit is not in force", fd, err)
		}
		exchange(t)
	},
}

// limit may lower a limit for the rest of this process's life.
func limit(t *testing.T, what int, n uint64) {
	t.Helper()
	if err := unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n}); err != nil {
		t.Skip("the limit cannot be set:", err)
	}
}

// exchange takes one message over a ring of its own.
func exchange(t *testing.T) {
	t.Helper()
	c := newChannel(t, Lane, linesMin)
	r, _ := c.reader(0)
	if res := c.w.Offer(1, []byte("order")); res != Sent {
		t.Fatal(res)
	}
	if n, _, err := r.Poll(9, func(uint16, []byte) {}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

// runLimited runs the child and takes over what it says.
func runLimited(t *testing.T, name string, in *syscall.SysProcAttr) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLimitsChild$", "-test.v")
	cmd.Env = append(os.Environ(), limitsChild+"="+name)
	cmd.SysProcAttr = in
	out, err := cmd.CombinedOutput()
	switch exit := (*exec.ExitError)(nil); {
	case err != nil && !errors.As(err, &exit):
		t.Skip("no such process can be started here:", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
}

// A limit that is reached is one error which names the ring and what to do; it ends no
// process, and what is within the limit goes on.
func TestLimitsOfAProcessAreErrorsThatSayWhatToDo(t *testing.T) {
	for _, name := range []string{"file size", "locked memory", "address space", "descriptors"} {
		t.Run(name, func(t *testing.T) {
			if raceDetector && name == "address space" {
				t.Skip("the race detector maps on")
			}
			var in *syscall.SysProcAttr
			if name == "locked memory" { // root locks whatever it likes, but in a user namespace
				in = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
					GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
			}
			runLimited(t, name, in)
		})
	}
}

// A host may refuse memory from which something could be executed.
func TestRingsNeedNoExecutableMemory(t *testing.T) {
	apart := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if os.Getuid() != 0 {
		apart.Cloneflags |= syscall.CLONE_NEWUSER
		apart.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		apart.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	runLimited(t, "no execution", apart)
	want := sealsWanted
	if fd, err := unix.MemfdCreate("any", unix.MFD_NOEXEC_SEAL); err == nil { // Linux 6.3
		want |= unix.F_SEAL_EXEC
		unix.Close(fd)
	}
	c := newChannel(t, Lane, linesMin)
	if seals, err := unix.FcntlInt(c.data.Fd(), unix.F_GET_SEALS, 0); err != nil || seals != want {
		t.Errorf("seals %#x, %v: %#x are wanted", seals, err, want)
	}
}
