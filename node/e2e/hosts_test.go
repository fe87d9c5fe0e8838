package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// netns is one host: a network namespace with a link to the others.
type netns struct {
	t    *testing.T
	name string // of the namespace
	dir  string // where its files lie and its commands run
	path string // PATH with `fire` on it
	env  []string
	runs []*process
}

// hosts makes n namespaces on one bridge, 10.77.0.1 and up, that know each other's
// names only by address, as fresh machines do.
func hosts(t *testing.T, n int) []*netns {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip (iproute2) is absent")
	}
	tag := fmt.Sprintf("fe%d", os.Getpid()%10000)
	if out, err := exec.Command("ip", "netns", "add", tag+"probe").CombinedOutput(); err != nil {
		t.Skipf("namespaces cannot be made here: %s", out)
	}
	run(t, 10*time.Second, "ip", "netns", "del", tag+"probe")
	sw := tag + "sw"
	ip := func(args ...string) { t.Helper(); run(t, 10*time.Second, "ip", args...) }
	ip("netns", "add", sw)
	t.Cleanup(func() { exec.Command("ip", "netns", "del", sw).Run() })
	ip("-n", sw, "link", "add", "br0", "type", "bridge")
	ip("-n", sw, "link", "set", "br0", "up")
	bin := fireOnPath(t)
	var out []*netns
	for i := 1; i <= n; i++ {
		h := &netns{t: t, name: fmt.Sprintf("%sh%d", tag, i), dir: t.TempDir(), path: bin + ":" + os.Getenv("PATH")}
		ip("netns", "add", h.name)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", h.name).Run() })
		port := fmt.Sprintf("p%d", i)
		ip("-n", h.name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", sw)
		ip("-n", sw, "link", "set", port, "master", "br0", "up")
		ip("-n", h.name, "addr", "add", fmt.Sprintf("10.77.0.%d/24", i), "dev", "eth0")
		ip("-n", h.name, "link", "set", "eth0", "up")
		ip("-n", h.name, "link", "set", "lo", "up")
		for _, d := range []string{"state", "run"} {
			if err := os.Mkdir(filepath.Join(h.dir, d), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, h)
	}
	return out
}

// fireOnPath makes a folder with a `fire` that is this test binary.
func fireOnPath(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := "#!/bin/sh\n" + asProgram + "=1 exec " + exe + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "fire"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return bin
}

// command runs a shell script on the host, in its folder.
func (h *netns) command(script string) *exec.Cmd {
	cmd := exec.Command("ip", "netns", "exec", h.name, "sh", "-ec", script)
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "PATH="+h.path, "FIRE_RUNTIME_DIR="+filepath.Join(h.dir, "run"),
		"STATE_DIRECTORY="+filepath.Join(h.dir, "state"), "NO_COLOR=1")
	cmd.Env = append(cmd.Env, h.env...)
	return cmd
}

// run starts script and leaves it running.
func (h *netns) run(script string) *process {
	h.t.Helper()
	p := start(h.t, h.name+": "+script, h.command("exec "+script))
	h.runs = append(h.runs, p)
	return p
}

// fence is one code block of the README: "```sh host-1 runs" or "```toml host-1 FILE".
type fence struct{ lang, host, rest, body string }

func readmeFences(t *testing.T) []fence {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []fence
	for _, m := range regexp.MustCompile("(?ms)^```(sh|toml) (host-\\d) ?(\\S*)\n(.*?)^```").FindAllStringSubmatch(string(b), -1) {
		out = append(out, fence{m[1], m[2], m[3], m[4]})
	}
	return out
}

// TestReadmeTwoHostStartWorksAsWritten does what the README tells a reader to do, on
// two namespaces that stand for the hosts.
func TestReadmeTwoHostStartWorksAsWritten(t *testing.T) {
	for _, p := range []string{"curl", "python3"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is absent", p)
		}
	}
	all := hosts(t, 2)
	byName := map[string]*netns{"host-1": all[0], "host-2": all[1]}
	fences := readmeFences(t)
	if len(fences) < 8 {
		t.Fatalf("only %d blocks for hosts in the README", len(fences))
	}
	var outputs []string
	for _, f := range fences {
		h := byName[f.host]
		switch {
		case f.lang == "toml":
			writeFile(t, h.dir, f.rest, f.body)
		case f.rest == "runs":
			readmeRuns(t, h, strings.TrimSpace(f.body))
		default:
			outputs = append(outputs, readmeSteps(t, byName, h, f.body))
		}
	}
	last := outputs[len(outputs)-1]
	for _, want := range []string{"Directory listing", "desk can talk to quotes: works", "denied_by_default", "quotes"} {
		if !strings.Contains(last, want) {
			t.Errorf("the last block does not show %q:\n%s", want, last)
		}
	}
}

// readmeRuns starts what keeps running, in place of the same program before it.
func readmeRuns(t *testing.T, h *netns, line string) {
	t.Helper()
	if strings.HasPrefix(line, "fire ") {
		for _, p := range h.runs {
			if strings.Contains(p.name, ": fire ") {
				if err := p.stop(); err != nil {
					t.Fatalf("%s: %v\n%s", p.name, err, p.output())
				}
			}
		}
		h.run(line).printed(20*time.Second, "linked to control")
		return
	}
	h.run(line)
}

// readmeSteps runs a block line by line, as a reader types it, a little patient: the
// reader needs longer than the mesh.
func readmeSteps(t *testing.T, byName map[string]*netns, h *netns, body string) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		wantCode := 0
		if strings.Contains(line, "policy try") {
			wantCode = 3 // the README shows a verdict that denies
		}
		var out, errs string
		waitFor(t, 20*time.Second, fmt.Sprintf("%s on %s", line, h.name), func() bool {
			var code int
			out, errs, code = finish(t, h.command(line))
			return code == wantCode
		})
		all.WriteString(out + errs)
		if strings.HasPrefix(line, "fire token create") {
			for _, h := range byName {
				if err := os.WriteFile(filepath.Join(h.dir, "join-token"), []byte(out), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return all.String()
}
