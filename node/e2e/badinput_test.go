package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fire/node/admin"
	"fire/policy/id"
	"fire/policy/pki"
)

// refuses runs a host that must not start: it exits by itself, with one line of its
// own that holds every one of words.
func refuses(t *testing.T, cmd *exec.Cmd, words ...string) {
	t.Helper()
	out, errs, code := finish(t, cmd)
	if code == 0 || !oneErrorLine(errs, words...) {
		t.Errorf("exit %d, want one line with %q:\n%s%s", code, words, out, errs)
	}
}

// edited changes a file for as long as f runs.
func edited(t *testing.T, path string, edit func([]byte) []byte, f func()) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, edit(bytes.Clone(whole)), info.Mode()); err != nil {
		t.Fatal(err)
	}
	f()
	if err := os.WriteFile(path, whole, info.Mode()); err != nil {
		t.Fatal(err)
	}
}

func halved(b []byte) []byte  { return b[:len(b)/2] }
func emptied(b []byte) []byte { return nil }
func garbled(b []byte) []byte { b[len(b)/2] ^= 0x15; return b }

// loosened gives a file or folder another mode for as long as f runs.
func loosened(t *testing.T, path string, mode os.FileMode, f func()) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	f()
	if err := os.Chmod(path, info.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
}

func TestStateThatCannotBeTrustedIsRefusedByName(t *testing.T) {
	m := newMesh(t)
	m.apply(meshFloor)
	h := m.host("h1", 2, "proxy", m.doors(2))
	m.join("h1")
	waitFor(t, 20*time.Second, "the catalogue is on h1's disk", func() bool { _, err := os.Stat(h.state("node", "catalogue.json")); return err == nil })
	h.terminate()
	record, key := h.state("node", "agent.json"), h.state("node", "node-h1.pem")
	edited(t, record, halved, func() { refuses(t, h.command(), record, "fire token create") })
	edited(t, record, emptied, func() { refuses(t, h.command(), record, "fire token create") })
	edited(t, key, halved, func() { refuses(t, h.command(), key) })
	loosened(t, key, 0o644, func() { refuses(t, h.command(), key, "chmod 600") })
	loosened(t, h.state("node"), 0o755, func() { refuses(t, h.command(), h.state("node"), "chmod 700") })

	m.control.p.kill()
	for _, edit := range []func([]byte) []byte{halved, garbled} {
		edited(t, h.state("node", "catalogue.json"), edit, func() {
			h.start()
			line := h.p.printed(20*time.Second, "catalogue copy refused")
			if !strings.Contains(line, h.state("node", "catalogue.json")) || !strings.Contains(line, "remove it and start with control up") {
				t.Errorf("the refusal names no file or next step: %s", line)
			}
			h.answers()
			if serves(m.pages("h1")) || echoes(m.echo("h1")) {
				t.Error("traffic without a catalogue")
			}
			h.terminate()
		})
	}
	c := m.control
	for _, name := range []string{"directory.json", "tokens.json"} {
		path := c.state("control", name)
		edited(t, path, halved, func() { refuses(t, c.command(), path, "backup") })
		edited(t, path, garbled, func() { refuses(t, c.command(), path, "backup") })
		loosened(t, path, 0o644, func() { refuses(t, c.command(), path, "chmod 600") })
	}
	ca, err := filepath.Glob(c.state("control", "ca", "*"))
	if err != nil || len(ca) == 0 {
		t.Fatal(ca, err)
	}
	for _, path := range ca {
		if strings.Contains(path, "journal") || strings.Contains(path, "leaves") { // torn tails heal: policy/pki
			continue
		}
		edited(t, path, halved, func() { refuses(t, c.command(), path) })
		loosened(t, path, 0o644, func() { refuses(t, c.command(), path, "chmod 600") })
	}
	c.start() // nothing was lost by all that
	c.answers()
	h.start()
	waitFor(t, 20*time.Second, "h1 is linked again", func() bool { i, err := h.info(); return err == nil && i.Linked })
}

func TestConfigAndPortsAreRefusedWithTheirPlace(t *testing.T) {
	m := newMesh(t)
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	taken := held.Addr().String()
	for i, tc := range []struct {
		what, old, new string
		words          []string
	}{
		{"bad TOML", "[mesh]", "[mesh", []string{"mesh.toml", "1"}},
		{"an unknown key", "roles =", "rolse =", []string{"rolse", "roles"}},
		{"a bare number for a duration", "[web]", "[control]\nlease = 3\n[web]", []string{"lease"}},
		{"a literal secret", "[web]", "[agent]\ntoken = \"fire1.abcdef\"\n[web]", []string{"token", "file:"}},
		{"the mesh's port in use", "listen = \"" + m.subnet + "7:7400\"", "listen = \"" + m.control.address + "\"", []string{"[node] listen", m.control.address, "ss -lnp"}},
		{"an address of another host", "listen = \"" + m.subnet + "7:7400\"", "listen = \"192.0.2.1:7400\"", []string{"[node] listen", "192.0.2.1", "ip addr"}},
		{"the map's port in use", "[web]\nlisten = \"\"", "[web]\nlisten = \"" + taken + "\"", []string{"[web] listen", taken, "ss -lnp"}},
		{"the metrics port in use", "metrics_listen = \"off\"", "metrics_listen = \"" + taken + "\"", []string{"metrics_listen", taken}},
	} {
		h := m.host(fmt.Sprintf("x%d", i), 7, "control", "")
		text := fmt.Sprintf(hostConfig, h.name, "control", m.subnet+"7")
		if !strings.Contains(text, tc.old) {
			t.Fatalf("%s: no %q to replace", tc.what, tc.old)
		}
		writeFile(t, h.dir, "mesh.toml", strings.Replace(text, tc.old, tc.new, 1))
		out, errs, code := finish(t, h.command())
		if code == 0 || code > 2 || out != "" {
			t.Errorf("%s: exit %d %s", tc.what, code, out)
		}
		for _, w := range tc.words {
			if !strings.Contains(errs, w) {
				t.Errorf("%s: no %q in\n%s", tc.what, w, errs)
			}
		}
	}
	m.apply(meshFloor) // the control that holds the port is none the worse
}

func TestUpstreamPortInUseAndUnknownServiceAreTold(t *testing.T) {
	m := newMesh(t)
	m.apply(meshFloor)
	h := m.host("h1", 2, "proxy", m.doors(2)+fmt.Sprintf("[upstream.ghost]\nservice = \"ghost\"\nas = \"caller\"\nlisten = %q\n", m.at(2, 15002)))
	held, err := net.Listen("tcp", m.at(2, 15001))
	if err != nil {
		t.Fatal(err)
	}
	token := writeFile(t, h.dir, "token", m.must("token", "create", "--node", "h1"))
	refuses(t, h.command("--token", "file:"+token), "upstream.echo", m.at(2, 15001), "ss -ltnp")
	held.Close()
	h.start("--token", "file:"+token) // the token was not spent on it
	h.answers()
	waitFor(t, 20*time.Second, "the refusal of the unknown service is listed", func() bool {
		echoes(m.at(2, 15002))
		return strings.Contains(must(t, h.runtime, "flows", "--refused"), "no_such_service")
	})
	out, _, code := ask(t, h.runtime, "why", "caller", "ghost")
	if code != 3 || !strings.Contains(out, "no_such_service") || !strings.Contains(out, "next:") {
		t.Errorf("why: exit %d\n%s", code, out)
	}
}

func TestTokensThatDoNotAdmitSayWhy(t *testing.T) {
	m := newMesh(t)
	m.apply(meshFloor)
	m.host("h1", 2, "proxy", "")
	m.join("h1")
	used, err := os.ReadFile(filepath.Join(m.h["h1"].dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, 20*time.Second, "h1 joined", func() bool { _, err := os.Stat(m.h["h1"].state("node", "agent.json")); return err == nil })
	other := m.must("token", "create", "--node", "other")
	short := m.must("token", "create", "--ttl", "1ms")
	open := strings.TrimSpace(m.must("token", "create"))
	for i, tc := range []struct {
		what, token string
		words       []string
	}{
		{"used", string(used), []string{"used", "fire token create"}},
		{"of another node", other, []string{"other", "fire token create"}},
		{"expired", short, []string{"expired", "fire token create"}},
		{"of another secret", otherSecret(t, open), []string{"token", "fire token create"}},
		{"of another root", otherPin(t, open), []string{"pin"}},
		{"torn", open[:len(open)-9], []string{"token"}},
		{"none", "fire1.", []string{"token"}},
	} {
		name := "y" + fmt.Sprint(i)
		if tc.what == "used" {
			name = "h1"
		}
		h := m.host(name, 8, "proxy", "")
		h.runtime, h.config = filepath.Join(h.dir, "run-y"), writeFile(t, h.dir, "y.toml", strings.Replace(fmt.Sprintf(hostConfig, name, "proxy", m.subnet+"8"), `"state"`, `"state-y"`, 1))
		token := writeFile(t, h.dir, "token-y", tc.token)
		t.Run(tc.what, func(t *testing.T) { refuses(t, h.command("--token", "file:"+token), tc.words...) })
		if tc.what == "torn" {
			loosened(t, token, 0o644, func() { refuses(t, h.command("--token", "file:"+token), token, "chmod 600") })
		}
	}
	h := m.host("last", 9, "proxy", "") // the open token was spent by none of them
	h.start("--token", open)
	waitFor(t, 20*time.Second, "the open token still admits", func() bool { i, err := h.info(); return err == nil && i.Linked })
	if list := m.must("token", "list"); strings.Count(list, "used") != 2 {
		t.Errorf("want two used tokens:\n%s", list)
	}
}

func otherSecret(t *testing.T, token string) string {
	t.Helper()
	k, err := pki.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	k.Secret = bytes.Repeat([]byte{7}, len(k.Secret))
	return k.String()
}

func otherPin(t *testing.T, token string) string {
	t.Helper()
	k, err := pki.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	k.Pin[0] ^= 1
	return k.String()
}

func TestRevokedHostThatRestartsIsRefusedAndSaysSo(t *testing.T) {
	m := startMesh(t)
	l := startLoad(t, m.pages("h1"))
	l.goesOn(t, "h2", "h3")
	m.must("revoke", "node/h3", "--why", "disk stolen")
	l.leaves(t, "h3", 5*time.Second)
	h := m.h["h3"]
	h.terminate()
	h.start()
	h.p.printed(20*time.Second, "fire revoke node/h3 --undo")
	h.answers()
	if i, err := h.info(); err != nil || i.Linked || i.LinkReason != "cert_refused" && i.LinkReason != "identity_revoked" {
		t.Errorf("info %+v, %v", i, err)
	}
	if _, errs, code := ask(t, h.runtime, "check", "control"); code != 3 {
		t.Errorf("fire check on a revoked host: exit %d %s", code, errs)
	}
	if echoes(m.echo("h3")) {
		t.Error("another host takes traffic of a revoked one")
	}
	l.goesOn(t, "h2")
	m.must("revoke", "node/h3", "--undo")
	m.healthy("pages@h3")
	l.goesOn(t, "h2", "h3")
}

func TestJoinWaitsForAControlThatIsDownAndSaysSo(t *testing.T) {
	m := newMesh(t)
	h := m.host("h1", 2, "proxy", "")
	token := writeFile(t, h.dir, "token", m.must("token", "create", "--node", "h1"))
	m.control.p.kill()
	h.start("--token", "file:"+token)
	line := h.p.printed(20*time.Second, "control_unreachable")
	if !strings.Contains(line, "cannot join yet") || !strings.Contains(line, m.control.address) {
		t.Errorf("the line names no address: %s", line)
	}
	if _, errs, code := ask(t, h.runtime, "status"); code != 1 || !oneErrorLine(errs, "control") {
		t.Errorf("status: exit %d %s", code, errs)
	}
	m.control.start()
	waitFor(t, 20*time.Second, "h1 joins by itself", func() bool { i, err := h.info(); return err == nil && i.Linked })
	if n := strings.Count(h.p.output(), "cannot join yet"); n > 3 {
		t.Errorf("said %d times", n)
	}
}

// TestClockBehindTheCertificatesStartIsNamed gives a host the certificate that it
// would hold if its clock had been put back: one that starts two hours from now, and
// one that has ended.
func TestClockBehindTheCertificatesStartIsNamed(t *testing.T) {
	m := newMesh(t)
	h := m.host("h1", 2, "proxy", "")
	m.join("h1")
	waitFor(t, 20*time.Second, "h1 joined", func() bool { i, err := h.info(); return err == nil && i.Linked })
	h.terminate()
	m.control.terminate()
	d := id.Domain{Region: "eu", Mesh: "failing"}
	for _, tc := range []struct {
		off   time.Duration
		words []string
	}{{2 * time.Hour, []string{"clock_skew", "clock is before the start of its own certificate", "chronyc makestep"}}, {-48 * time.Hour, []string{"cert_expired", "fire token create --node h1"}}} {
		a, err := pki.OpenAuthority(m.control.state("control", "ca"), d, func() time.Time { return time.Now().Add(tc.off) })
		if err != nil {
			t.Fatal(err)
		}
		node, err := pki.LoadIdentity(h.state("node"), d.Node("h1"))
		if err != nil {
			t.Fatal(err)
		}
		chain, err := a.Issue(node.CSR(), d.Node("h1"))
		if err == nil {
			err = node.Install(chain)
		}
		if err == nil {
			err = node.Save(h.state("node"))
		}
		if err != nil {
			t.Fatal(err)
		}
		m.control.start()
		m.control.answers()
		h.p = start(t, h.name, h.command())
		waitFor(t, 20*time.Second, fmt.Sprintf("h1 says %q", tc.words), func() bool {
			return !slices.ContainsFunc(tc.words, func(w string) bool { return !strings.Contains(h.p.output(), w) })
		})
		t.Logf("%v: %s", tc.off, tail(h.p.output(), 3))
		h.p.stop()
		m.control.terminate()
	}
}

// TestSlowReadersAndSilentClientsHoldLittle lets many clients read nothing, and many
// send nothing: both are cut by name and the proxies' memory stays bounded.
func TestSlowReadersAndSilentClientsHoldLittle(t *testing.T) {
	m := newMesh(t)
	m.apply(meshFloor)
	limits := "[proxy]\nwrite_timeout = \"2s\"\nidle_timeout = \"3s\"\n[proxy.http]\nheader_timeout = \"3s\"\n"
	m.host("h1", 2, "proxy", m.doors(2)+limits)
	m.host("h2", 3, "proxy", m.apps(3, "pages", "echo"))
	m.h["h2"].startApp(m.at(13, 8000), m.at(13, 9000))
	m.join("h1", "h2")
	m.healthy("pages@h2", "echo@h2")
	waitFor(t, 20*time.Second, "h1 carries traffic", func() bool { return echoes(m.echo("h1")) && serves(m.pages("h1")) })
	const clients = 40
	near, far := m.h["h1"].residentBytes(), m.h["h2"].residentBytes()
	var all sync.WaitGroup
	var written atomic.Int64
	for range clients {
		all.Go(func() { writeAndReadNothing(t, m.echo("h1"), &written) })
		all.Go(func() { connectAndWait(t, m.echo("h1")) })
		all.Go(func() { connectAndWait(t, m.pages("h1")) })
	}
	peakNear, peakFar := near, far
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	waitFor(t, 30*time.Second, "every one of them is cut", func() bool {
		peakNear, peakFar = max(peakNear, m.h["h1"].residentBytes()), max(peakFar, m.h["h2"].residentBytes())
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	t.Logf("%d slow readers sent %d MiB; resident near %d to %d MiB, far %d to %d MiB", clients, written.Load()>>20,
		near>>20, peakNear>>20, far>>20, peakFar>>20)
	// 40 receivers hold a window of 1 MiB at most, a flow its two buffers; the rest is the collector's room.
	if grown := max(peakNear-near, peakFar-far); grown > 128<<20 {
		t.Errorf("a proxy grew by %d MiB", grown>>20)
	}
	var seen []admin.Refusal
	seen, err := m.h["h1"].remote.Refusals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"slow_reader", "idle_timeout"} {
		if !slices.ContainsFunc(seen, func(r admin.Refusal) bool { return r.Reason == want && r.Dst == "echo" }) {
			t.Errorf("no %s among the refused flows: %v", want, seen)
		}
	}
	if out := must(t, m.h["h1"].runtime, "flows", "--refused"); !strings.Contains(out, "slow_reader") && !strings.Contains(out, "idle_timeout") {
		t.Errorf("fire flows --refused:\n%s", tail(out, 20))
	}
	if !echoes(m.echo("h1")) || !serves(m.pages("h1")) {
		t.Error("an honest client is not served any more")
	}
}

// writeAndReadNothing sends until it is cut.
func writeAndReadNothing(t *testing.T, address string, written *atomic.Int64) {
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	c.(*net.TCPConn).SetReadBuffer(16 << 10)
	c.SetDeadline(time.Now().Add(25 * time.Second))
	chunk := make([]byte, 64<<10)
	for {
		n, err := c.Write(chunk)
		written.Add(int64(n))
		if err != nil {
			if os.IsTimeout(err) {
				t.Error("a slow reader was not cut")
			}
			return
		}
	}
}

// connectAndWait sends nothing until it is cut.
func connectAndWait(t *testing.T, address string) {
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(25 * time.Second))
	b := make([]byte, 4096)
	for {
		if _, err := c.Read(b); err != nil {
			if os.IsTimeout(err) {
				t.Error("a silent client was not cut")
			}
			return
		}
	}
}

// residentBytes is the memory of the host's process.
func (h *host) residentBytes() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", h.p.cmd.Process.Pid))
	if err != nil {
		h.t.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		h.t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

// smallDisk mounts a file system of that many bytes at dir.
func smallDisk(t *testing.T, dir string, bytes int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a small file system needs root")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes)); err != nil {
		t.Skipf("no small file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill takes all room that dir has left, and returns how to give it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{64 << 10, 4 << 10, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, n))
		}
	}
	f.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullDiskIsOneClearErrorAndNothingIsLost(t *testing.T) {
	m := newMesh(t)
	m.control.terminate()
	// Its audit log has a disk of its own: else no change is made, since it could not be recorded.
	c := m.host("c2", 5, "control", fmt.Sprintf("[audit]\ndir = %q\nhead_dir = %q\n", filepath.Join(m.dir, "c2-audit"), filepath.Join(m.dir, "c2-head")))
	smallDisk(t, c.state(), 2<<20)
	free := fill(t, c.state())
	refuses(t, c.command(), c.state(), "no space left")
	free()
	c.start()
	c.answers()
	m.control = c
	m.apply(meshFloor)
	h := m.host("h1", 2, "proxy", m.doors(2))
	m.join("h1")
	waitFor(t, 20*time.Second, "h1 is linked", func() bool { i, err := h.info(); return err == nil && i.Linked })

	free = fill(t, c.state())
	more := writeFile(t, m.dir, "more.toml", meshFloor+"[service.late]\nnodes = [\"h1\"]\n")
	out, errs, code := ask(t, c.runtime, "apply", "-f", more)
	if code != 1 || !oneErrorLine(errs, "no space left", "nothing was changed") {
		t.Errorf("apply on a full disk: exit %d %s%s", code, out, errs)
	}
	if _, errs, code := ask(t, c.runtime, "token", "create"); code != 1 || !oneErrorLine(errs, "no space left") {
		t.Errorf("token create on a full disk: exit %d %s", code, errs)
	}
	if out := m.must("services"); strings.Contains(out, "late") || !strings.Contains(out, "pages") {
		t.Errorf("services after a refused apply:\n%s", out)
	}
	if i, err := h.info(); err != nil || !i.Linked {
		t.Errorf("h1 lost its link by control's full disk: %+v %v", i, err)
	}
	free()
	m.must("apply", "-f", more)
	c.p.kill()
	c.start()
	c.answers()
	if out := m.must("services"); !strings.Contains(out, "late") {
		t.Errorf("an acknowledged floor did not survive:\n%s", out)
	}

	p := m.host("h9", 6, "proxy", "")
	smallDisk(t, p.state(), 64<<10)
	free = fill(t, p.state())
	token := writeFile(t, p.dir, "token", m.must("token", "create", "--node", "h9"))
	refuses(t, p.command("--token", "file:"+token), p.state(), "no space left")
	free()
}

func TestExampleStartsAsItIsAndCheckFindsNothingBroken(t *testing.T) {
	h := hosts(t, 1)[0] // a host of its own: the example's ports are free there
	example, err := os.ReadFile("../../mesh.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, h.dir, "mesh.toml.example", string(example))
	h.run("fire run --config mesh.toml.example").printed(20*time.Second, "admin socket")
	var out, errs string
	waitFor(t, 30*time.Second, "fire check is content", func() bool {
		var code int
		out, errs, code = finish(t, h.command("fire check --config mesh.toml.example"))
		return code == 0
	})
	if strings.Contains(out, "fail ") {
		t.Errorf("exit 0 with a failure:\n%s%s", out, errs)
	}
}
