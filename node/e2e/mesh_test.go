package e2e

import (
	"bufio"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fire/node/admin"
)

// mesh is one control and proxies, each a process of its own on its own loopback
// address, with applications that are processes too: everything can be killed.
//
//	caller ─► h1 ═╦═► h2 ─► pages, echo
//	              ╚═► h3 ─► pages
type mesh struct {
	t       *testing.T
	dir     string
	subnet  string // 127.x.y. of this test alone
	control *host
	h       map[string]*host
}

// host is one machine of a mesh.
type host struct {
	t       *testing.T
	name    string
	dir     string
	runtime string
	config  string
	address string
	remote  *admin.Client // asked from here where a verb would cost a process
	p       *process
	app     *process
}

const meshFloor = `
[service.caller]
nodes = ["h1", "h3"]
[service.pages]
protocol = "http"
port = 8000
nodes = ["h2", "h3"]
balance = "round_robin" # peak_ewma may leave one alone for long after a stall of this machine
[service.echo]
port = 9000
nodes = ["h2"]
[policy.caller-out]
from = ["caller"]
to = ["echo", "pages"]
`

const hostConfig = `
[mesh]
name = "failing"
region = "eu"
[node]
name = %q
roles = [%q]
dir = "state"
listen = "%s:7400"
[admin]
metrics_listen = "off"
[log]
level = "warn"
[web]
listen = ""
`

// newMesh writes the files of a mesh of its own and starts control.
func newMesh(t *testing.T) *mesh {
	t.Helper()
	sum := fnv.New32()
	fmt.Fprint(sum, t.Name(), os.Getpid())
	n := sum.Sum32()
	m := &mesh{t: t, dir: t.TempDir(), subnet: fmt.Sprintf("127.%d.%d.", 1+n%250, n>>8%256), h: map[string]*host{}}
	m.control = m.host("c", 1, "control", "")
	m.control.start()
	m.control.answers()
	return m
}

// startMesh is the whole picture, with everything healthy and traffic flowing.
func startMesh(t *testing.T) *mesh {
	t.Helper()
	m := newMesh(t)
	m.apply(meshFloor)
	m.host("h1", 2, "proxy", m.doors(2))
	m.host("h2", 3, "proxy", m.apps(3, "pages", "echo"))
	m.host("h3", 4, "proxy", m.apps(4, "pages")+m.doors(4))
	for i, name := range []string{"h2", "h3"} {
		m.h[name].startApp(m.at(13+i, 8000), m.at(13+i, 9000))
	}
	m.join("h1", "h2", "h3")
	m.healthy("pages@h2", "pages@h3", "echo@h2")
	for _, near := range []string{"h1", "h3"} {
		waitFor(t, 20*time.Second, near+" carries both protocols", func() bool { return echoes(m.echo(near)) && serves(m.pages(near)) })
	}
	return m
}

// at is an address of the mesh's own subnet.
func (m *mesh) at(last, port int) string { return fmt.Sprintf("%s%d:%d", m.subnet, last, port) }

// doors are the upstreams of a host that calls.
func (m *mesh) doors(last int) string {
	return fmt.Sprintf("[service.caller]\n[upstream.pages]\nservice = \"pages\"\nas = \"caller\"\nlisten = %q\n"+
		"[upstream.echo]\nservice = \"echo\"\nas = \"caller\"\nlisten = %q\n", m.at(last, 15000), m.at(last, 15001))
}

func (m *mesh) pages(name string) string {
	return strings.TrimSuffix(m.h[name].address, "7400") + "15000"
}
func (m *mesh) echo(name string) string {
	return strings.TrimSuffix(m.h[name].address, "7400") + "15001"
}

// apps are the services of a host whose application listens ten addresses above it.
func (m *mesh) apps(last int, services ...string) string {
	var b strings.Builder
	for _, s := range services {
		port := 8000
		if s == "echo" {
			port = 9000
		}
		fmt.Fprintf(&b, "[service.%s]\naddress = %q\n", s, m.at(last+10, port))
	}
	return b.String()
}

func (m *mesh) host(name string, last int, role, more string) *host {
	m.t.Helper()
	h := &host{t: m.t, name: name, dir: filepath.Join(m.dir, name), address: m.at(last, 7400)}
	h.runtime = filepath.Join(h.dir, "run")
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		m.t.Fatal(err)
	}
	h.config = writeFile(m.t, h.dir, "mesh.toml", fmt.Sprintf(hostConfig, name, role, m.subnet+fmt.Sprint(last))+more)
	h.remote = admin.Dial(filepath.Join(h.runtime, name+".sock"))
	m.t.Cleanup(h.remote.Close)
	m.h[name] = h
	return h
}

// join gives each host a token and starts it.
func (m *mesh) join(names ...string) {
	m.t.Helper()
	for _, name := range names {
		h := m.h[name]
		token := writeFile(m.t, h.dir, "token", m.must("token", "create", "--node", name))
		h.start("--token", "file:"+token)
	}
}

func (m *mesh) must(args ...string) string {
	m.t.Helper()
	return must(m.t, m.control.runtime, args...)
}

func (m *mesh) apply(floor string) {
	m.t.Helper()
	m.must("apply", "-f", writeFile(m.t, m.dir, "floor.toml", floor))
}

// endpoints are what control knows, by "service@node".
func (m *mesh) endpoints() map[string]admin.Endpoint {
	out := map[string]admin.Endpoint{}
	services, err := m.control.remote.Services(m.t.Context())
	if err != nil {
		return out
	}
	for _, s := range services {
		for _, e := range s.Endpoints {
			out[s.Service+"@"+e.Node] = e
		}
	}
	return out
}

// healthy waits until the endpoints are in use.
func (m *mesh) healthy(names ...string) {
	m.t.Helper()
	waitFor(m.t, 20*time.Second, strings.Join(names, ", ")+" healthy", func() bool {
		all := m.endpoints()
		for _, n := range names {
			if e := all[n]; !e.Linked || !e.Healthy || e.Draining {
				return false
			}
		}
		return true
	})
}

func (h *host) command(args ...string) *exec.Cmd {
	return fireCommand(h.t, h.runtime, append([]string{"run", "--config", h.config}, args...)...)
}

func (h *host) start(args ...string) {
	h.t.Helper()
	h.p = start(h.t, h.name, h.command(args...))
}

// answers waits until the process has started.
func (h *host) answers() {
	h.t.Helper()
	h.p.printed(20*time.Second, "admin socket")
}

// state is a path in the host's state folder.
func (h *host) state(elem ...string) string {
	return filepath.Join(append([]string{h.dir, "state"}, elem...)...)
}

func (h *host) info() (admin.Info, error) { return h.remote.Info(h.t.Context()) }

// asApplication makes the re-executed test binary an application.
const asApplication = "FIRE_E2E_APPLICATION"

// startApp starts the host's application, anew if it was killed.
func (h *host) startApp(pages, echo string) {
	h.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestStandsInForAnApplication$")
	cmd.Env = append(os.Environ(), asApplication+"="+h.name+" "+pages+" "+echo)
	h.app = start(h.t, "application of "+h.name, cmd)
	h.app.printed(20*time.Second, "serving")
}

// TestStandsInForAnApplication is no test: it is the application of a host, which
// says whose it is over HTTP, and echoes lines over TCP, until it is killed.
func TestStandsInForAnApplication(t *testing.T) {
	var name, pages, echo string
	if _, err := fmt.Sscan(os.Getenv(asApplication), &name, &pages, &echo); err != nil {
		t.Skip("runs only as an application of other tests")
	}
	le, err := net.Listen("tcp", echo)
	if err != nil {
		t.Fatal(err)
	}
	lh, err := net.Listen("tcp", pages)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := le.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	fmt.Println("serving")
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) })}
	parent := os.Getppid()
	go func() { // ends with the test that started it, however that ends
		for pace := time.NewTicker(time.Second); os.Getppid() == parent; <-pace.C {
		}
		srv.Close()
	}()
	srv.Serve(lh)
}

// load is steady HTTP through one proxy.
type load struct {
	end  func()
	mu   sync.Mutex
	by   map[string]int // answers by whose application gave them
	last map[string]time.Time
	bad  []string
}

const loadWorkers = 4

// startLoad asks address for a page, loadWorkers at a time, until the test ends.
func startLoad(t *testing.T, address string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{by: map[string]int{}, last: map[string]time.Time{}}
	var workers sync.WaitGroup
	for range loadWorkers {
		workers.Go(func() {
			c := &http.Client{Timeout: 8 * time.Second, Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for pace := time.NewTicker(4 * time.Millisecond); ctx.Err() == nil; <-pace.C {
				l.ask(ctx, c, address)
			}
		})
	}
	l.end = sync.OnceFunc(func() { cancel(); workers.Wait() })
	t.Cleanup(l.end)
	return l
}

func (l *load) ask(ctx context.Context, c *http.Client, address string) {
	begun := time.Now()
	q, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+"/", nil)
	if err != nil {
		l.note("", err.Error())
		return
	}
	r, err := c.Do(q)
	if err != nil {
		if ctx.Err() == nil {
			l.note("", fmt.Sprintf("after %v: %v", time.Since(begun).Round(time.Millisecond), err))
		}
		return
	}
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	switch {
	case ctx.Err() != nil:
	case err != nil || r.StatusCode != http.StatusOK:
		l.note("", fmt.Sprintf("after %v: %s %v %.200s", time.Since(begun).Round(time.Millisecond), r.Status, err, body))
	default:
		l.note(string(body), "")
	}
}

func (l *load) note(from, bad string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bad != "" {
		l.bad = append(l.bad, bad)
		return
	}
	l.by[from]++
	l.last[from] = time.Now()
}

func (l *load) count(from string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[from]
}

func (l *load) failed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.bad...)
}

// goesOn waits for many more answers, of from or of anyone for "".
func (l *load) goesOn(t *testing.T, from ...string) {
	t.Helper()
	for _, name := range from {
		before := l.count(name)
		waitFor(t, 20*time.Second, "more answers of "+name, func() bool { return l.count(name) > before+20 })
	}
}

// leaves waits until from gives no answer any more while others do.
func (l *load) leaves(t *testing.T, from string, limit time.Duration) {
	t.Helper()
	waitFor(t, limit, "no more answers of "+from, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		var newest time.Time
		for name, at := range l.last {
			if name != from && at.After(newest) {
				newest = at
			}
		}
		return newest.Sub(l.last[from]) > 300*time.Millisecond
	})
}

// flow is one TCP connection through a proxy that echoes line by line.
type flow struct {
	lines atomic.Int64
	err   atomic.Pointer[error]
}

func startFlow(t *testing.T, address string) *flow {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := bufio.NewReader(c)
		for pace := time.NewTicker(10 * time.Millisecond); ; <-pace.C {
			if _, err := io.WriteString(c, "line\n"); err != nil {
				f.err.Store(&err)
				return
			}
			if _, err := r.ReadString('\n'); err != nil {
				f.err.Store(&err)
				return
			}
			f.lines.Add(1)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	f.goesOn(t)
	return f
}

// goesOn fails when the connection was cut, and waits for more lines.
func (f *flow) goesOn(t *testing.T) {
	t.Helper()
	before := f.lines.Load()
	waitFor(t, 10*time.Second, "the open connection carries more lines", func() bool {
		if err := f.err.Load(); err != nil {
			t.Fatalf("the open connection was cut after %d lines: %v", f.lines.Load(), *err)
		}
		return f.lines.Load() > before+5
	})
}

// terminate sends SIGTERM and waits for the end.
func (h *host) terminate() {
	h.t.Helper()
	h.p.signal(syscall.SIGTERM)
	<-h.p.done
}
