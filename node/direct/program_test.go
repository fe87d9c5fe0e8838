package direct

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fire/policy/reason"
)

func TestProgramIsWhatTheKernelSays(t *testing.T) {
	n := newNode(t)
	p := n.publisher("orders", "publisher")
	defer p.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := n.rings()[0].Writer
	if w.PID != os.Getpid() || w.User != me(t) || w.Executable != exe {
		t.Errorf("%+v", w)
	}
}

func TestTableMatchesOnlyWhatAllItsKeysSay(t *testing.T) {
	p := &process{pid: 7, uid: 1000, user: "trader", executable: "/usr/bin/strategy", unit: "strategy.service"}
	for _, c := range []struct {
		table Program
		want  bool
	}{
		{Program{}, false},
		{Program{Executables: []string{"/usr/bin/strategy"}}, false}, // keeps nobody out
		{Program{Users: []string{"trader"}}, true},
		{Program{Users: []string{"1000"}}, true},
		{Program{Users: []string{"other", "trader"}}, true},
		{Program{Users: []string{"other"}}, false},
		{Program{Units: []string{"strategy.service"}}, true},
		{Program{Units: []string{"other.service"}, Users: []string{"trader"}}, false},
		{Program{Users: []string{"trader"}, Executables: []string{"/usr/bin/strategy"}, Units: []string{"strategy.service"}}, true},
		{Program{Users: []string{"trader"}, Executables: []string{"/usr/bin/other"}}, false},
	} {
		if got := c.table.matches(p); got != c.want {
			t.Errorf("%+v: %v", c.table, got)
		}
	}
	tables := map[string]Program{"a": {Users: []string{"trader"}}, "b": {Users: []string{"other"}}}
	if s, err := serviceOf(tables, p, ""); s != "a" || err != nil {
		t.Error(s, err)
	}
	tables["c"] = Program{Units: []string{"strategy.service"}}
	_, err := serviceOf(tables, p, "")
	if reason.Of(err, 0) != reason.ProgramUnknown || !strings.Contains(err.Error(), "any of a, c") {
		t.Error(err)
	}
	if _, err := serviceOf(tables, p, "b"); reason.Of(err, 0) != reason.ProgramUnknown || !strings.Contains(err.Error(), "[program.b]") {
		t.Error(err)
	}
}

func TestUnitIsTheOutermostSinceDeeperOnesAreAnybodys(t *testing.T) {
	for groups, want := range map[string]string{
		"0::/system.slice/strategy.service\n":                                           "strategy.service",
		"0::/system.slice/strategy.service/evil.service\n":                              "strategy.service",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/strategy.service\n": "user@1000.service",
		"0::/user.slice/user-1000.slice/session-3.scope\n":                              "session-3.scope",
		"0::/\n":                              "",
		"":                                    "",
		"12:cpu:/strategy.service\n0::/x.y\n": "",
	} {
		if got := unitOf(groups); got != want {
			t.Errorf("%q: %q, want %q", groups, got, want)
		}
	}
}

// A program that dies is seen even when a child of it holds the connection open.
func TestDeathIsSeenBehindAChildThatHoldsTheSocket(t *testing.T) {
	n := newNode(t)
	c := start(t, "publisher", n.b.Path(), "orders", "publisher", "FIRE_TEST_LEAK=1")
	holder, err := strconv.Atoi(strings.TrimPrefix(c.until("child "), "child "))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(holder, syscall.SIGKILL)
	c.signal(syscall.SIGKILL)
	_ = c.cmd.Wait()
	eventually(t, "the death is seen", func() bool { return len(n.events(Died)) == 1 })
	if syscall.Kill(holder, 0) != nil {
		t.Error("the child that should hold the socket is gone")
	}
}

// leak starts a process that inherits every descriptor of this one.
func leak() (int, error) {
	cmd := exec.Command("sleep", "60")
	for fd := 3; fd < 64; fd++ {
		if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0); errno != 0 {
			continue
		}
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

func TestDirectRoleStaysLight(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "fire/node/direct").Output()
	if err != nil {
		t.Skip("go list:", err)
	}
	for dep := range strings.Lines(string(out)) {
		for _, heavy := range []string{"net/http", "go.etcd.io/", "github.com/dgraph-io/", "github.com/quic-go/", "fire/twin", "fire/node/catalog", "github.com/prometheus/"} {
			if strings.HasPrefix(dep, heavy) {
				t.Errorf("it links %s", strings.TrimSpace(dep))
			}
		}
	}
}
