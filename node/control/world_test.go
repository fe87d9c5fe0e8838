package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/twin"
	"fire/twin/web"

	"go.uber.org/goleak"
)

var domain = id.Domain{Region: "eu", Mesh: "floor"}

const testFloor = `
[service.orders]
protocol = "fix"
port = 9001
nodes = ["h1", "h2"]
[service.risk]
protocol = "http"
port = 8080
nodes = ["h1", "h2", "h3"]
[policy.in]
from = ["risk"]
to = ["orders"]
`

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is one control with its sessions and a disk that can fail.
type world struct {
	t        testing.TB
	c        *Control
	disk     *testDisk
	sessions chan transport.Session
	dir      string
	log      *lines
	cancel   context.CancelFunc
	done     chan error
}

func newWorld(t testing.TB) *world {
	return startWorld(t, filepath.Join(t.TempDir(), "control"), newTestDisk())
}

func startWorld(t testing.TB, dir string, disk *testDisk) *world {
	t.Helper()
	w := &world{t: t, disk: disk, dir: dir, sessions: make(chan transport.Session, 16), log: &lines{Handler: slog.DiscardHandler}}
	cfg := Default()
	cfg.Advertise = []string{"127.0.0.1:7400"}
	model := twin.Default()
	model.PublishEvery = time.Second // days of virtual time are made of ticks
	c, err := New(cfg, Deps{Domain: domain, Name: "c1", Dir: dir, Release: "test", Log: slog.New(w.log),
		Twin: model, Web: web.Config{StreamsMax: 1}, Sessions: w.sessions, Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	w.c = c
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done = cancel, make(chan error, 1)
	go func() { w.done <- c.Run(ctx) }()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) stop() error {
	w.cancel()
	err := <-w.done
	w.done <- err
	return err
}

// restart stops control and starts another on the same state.
func (w *world) restart() *world {
	w.t.Helper()
	if err := w.stop(); err != nil {
		w.t.Fatal(err)
	}
	return startWorld(w.t, w.dir, w.disk)
}

// members joins nodes and applies the test floor.
func (w *world) members(names ...string) {
	w.t.Helper()
	for _, n := range names {
		w.member(n)
	}
	w.apply(testFloor)
}

func (w *world) member(n string) {
	w.t.Helper()
	err := w.c.durably(w.t.Context(), func(d *catalog.Directory, now time.Time) ([]catalog.Event, error) {
		return d.Join(n, n+":7400", false, now)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(text string) admin.ApplyResult {
	w.t.Helper()
	r, err := w.c.Apply(w.t.Context(), admin.ApplyRequest{Name: "floor.toml", Text: text})
	if err != nil || len(r.Problems) > 0 {
		w.t.Fatalf("apply: %v %v", err, r.Problems)
	}
	return r
}

// dial is a node's session with control, in memory.
func (w *world) dial(node string) transport.Session {
	client, server := transport.Pipe(pki.ALPNControl, transport.ClassControl,
		transport.PipeEnd{Who: domain.Node(node)}, transport.PipeEnd{Who: domain.Control("c1")})
	w.sessions <- server
	return client
}

// testNode speaks the wire of node/catalog as node/agent does.
type testNode struct {
	t       testing.TB
	name    string
	session transport.Session
	stream  transport.Stream
	silent  bool // acknowledge nothing
	bundle  pki.Bundle

	mu       sync.Mutex
	messages []catalog.ControlMessage
	state    *catalog.State
	whole    int // snapshots taken
	deltas   int
	err      error
	ended    chan struct{}
}

func (w *world) node(name string, claims ...catalog.Claim) *testNode {
	w.t.Helper()
	n := w.quietNode(name, claims...)
	go n.read()
	synctestWait(w.t)
	return n
}

// quietNode has said hello and reads nothing.
func (w *world) quietNode(name string, claims ...catalog.Claim) *testNode {
	w.t.Helper()
	n := &testNode{t: w.t, name: name, session: w.dial(name), bundle: w.c.Bundle(), ended: make(chan struct{})}
	var err error
	if n.stream, err = n.session.Open(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	n.say(catalog.NodeMessage{Hello: &catalog.Hello{Protocol: 1, Addr: name + ":7400", Release: "test", Zone: "z", Claims: claims,
		Time: time.Now(), NotAfter: time.Now().Add(time.Hour)}})
	return n
}

func healthy(svc string) catalog.Claim { return catalog.Claim{Service: svc, Healthy: true} }

func (n *testNode) say(m catalog.NodeMessage) {
	if err := catalog.WriteMessage(n.stream, catalog.ToControlBytesMax, &m); err != nil {
		n.mu.Lock()
		n.err = err
		n.mu.Unlock()
	}
}

func (n *testNode) read() {
	defer close(n.ended)
	for {
		var m catalog.ControlMessage
		if err := catalog.ReadMessage(n.stream, catalog.ToNodeBytesMax, &m); err != nil {
			n.mu.Lock()
			n.err = err
			n.mu.Unlock()
			return
		}
		n.take(m)
	}
}

func (n *testNode) take(m catalog.ControlMessage) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.messages = append(n.messages, m)
	signed := m.Delta
	if m.Snapshot != nil {
		signed = m.Snapshot
		n.whole++
	} else if m.Delta != nil {
		n.deltas++
	}
	if signed == nil {
		return
	}
	next, err := signed.Open(n.state, n.bundle)
	if err != nil {
		n.t.Errorf("node %s: %v", n.name, err)
		return
	}
	n.state, n.bundle = next, next.Bundle
	if !n.silent {
		go n.say(catalog.NodeMessage{Ack: &catalog.Ack{Version: next.Version, Stage: catalog.Applied, Took: 0.5}})
	}
}

func (n *testNode) renewAll() {
	n.mu.Lock()
	var r catalog.Renew
	for _, m := range n.messages {
		if m.Grant != nil {
			r.Leases = append(r.Leases, m.Grant.Lease)
		}
	}
	n.mu.Unlock()
	r.Time, r.NotAfter = time.Now(), time.Now().Add(time.Hour)
	n.say(catalog.NodeMessage{Renew: &r})
}

func (n *testNode) lease(svc string) catalog.Lease {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range slices.Backward(n.messages) {
		if m.Grant != nil && m.Grant.Service == svc {
			return m.Grant.Lease
		}
	}
	return catalog.Lease{}
}

func (n *testNode) refusals() (out []catalog.Refuse) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.messages {
		if m.Refuse != nil {
			out = append(out, *m.Refuse)
		}
	}
	return out
}

func (n *testNode) view() *catalog.State {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state == nil {
		return &catalog.State{}
	}
	return n.state
}

// request asks one thing on a stream of its own.
func (n *testNode) request(r catalog.Request) (a catalog.Answer) {
	n.t.Helper()
	s, err := n.session.Open(n.t.Context())
	if err == nil {
		err = catalog.WriteMessage(s, catalog.ToControlBytesMax, &r)
	}
	if err == nil {
		err = catalog.ReadMessage(s, catalog.ToNodeBytesMax, &a)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return a
}

// synctestWait settles everything that happens without the clock moving on, when
// the test runs in a bubble; then lets the publication after it pass.
func synctestWait(testing.TB) {
	time.Sleep(30 * time.Millisecond)
	synctest.Wait()
}

// testDisk is a Disk in memory that can be full, slow or lose power.
type testDisk struct {
	mu     sync.Mutex
	files  map[string][]byte
	fail   error
	writes int
	lose   int           // after so many writes the power is gone; 0: never
	before bool          // power goes before the last write is durable, not after
	hold   chan struct{} // set: writes wait for it
}

var errPower = errors.New("power lost")

func newTestDisk() *testDisk { return &testDisk{files: map[string][]byte{}} }

func (d *testDisk) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, ok := d.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(b), nil
}

func (d *testDisk) Write(name string, data []byte) error {
	d.mu.Lock()
	hold := d.hold
	d.mu.Unlock()
	if hold != nil {
		<-hold
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.writes++
	if d.lose > 0 && d.writes >= d.lose {
		if d.writes == d.lose && !d.before {
			d.files[name] = slices.Clone(data)
		}
		return errPower
	}
	d.files[name] = slices.Clone(data)
	return nil
}

func (d *testDisk) set(change func(*testDisk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *testDisk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// after is what survives on the platter.
func (d *testDisk) after() *testDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &testDisk{files: maps.Clone(d.files)}
}

func wantCode(t testing.TB, err error, c reason.Code) {
	t.Helper()
	if err == nil || reason.Of(err, reason.OK) != c {
		t.Fatalf("got %v; want %v", err, c)
	}
}

func status(t testing.TB, c *Control, node string) admin.NodeStatus {
	t.Helper()
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes {
		if n.Node == node {
			return n
		}
	}
	t.Fatalf("no node %s in %+v", node, s.Nodes)
	return admin.NodeStatus{}
}

func endpoints(s *catalog.State) (out []string) {
	for key, e := range s.Endpoints {
		out = append(out, fmt.Sprintf("%s linked=%v healthy=%v", key, e.Linked, e.Healthy))
	}
	slices.Sort(out)
	return out
}
