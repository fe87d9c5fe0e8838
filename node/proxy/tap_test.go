package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fire/audit"
	"fire/audit/entry"
	"fire/audit/tlog"
	"fire/node/catalog"
	"fire/policy"
	"fire/policy/reason"
	"fire/transport/fix"
)

// auditLog is a host's real log, on a disk that can be made to hang.
type auditLog struct {
	*audit.Log
	t    testing.TB
	disk *hanging
}

func (h *host) keepsLog(t testing.TB) *auditLog {
	t.Helper()
	dir := t.TempDir()
	folder, err := audit.OpenFolder(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	away, err := audit.OpenFolder(filepath.Join(dir, "away"))
	if err != nil {
		t.Fatal(err)
	}
	origin := "eu.floor/audit/" + h.name
	key, err := tlog.NewKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	cfg := audit.Default()
	cfg.Origin, cfg.SegmentBytes, cfg.Rings, cfg.RingBytes = origin, 4<<20, 1, 1<<20
	a := &auditLog{t: t, disk: &hanging{Disk: folder}}
	a.Log, _, err = audit.Open(cfg, audit.Deps{Disk: a.disk, Away: away, Keys: &audit.Keys{Signing: []*tlog.Key{key}, Known: []string{key.Verifier()}}, Now: time.Now, Log: silentLog()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	h.audit = a.Capture()
	return a
}

// entries are those of some kinds, once there are so many.
func (a *auditLog) entries(n int, kinds ...entry.Kind) (out []entry.View) {
	a.t.Helper()
	eventually(a.t, fmt.Sprintf("the log has %d of %v", n, kinds), func() bool {
		out = nil
		head, _ := a.Head()
		if err := a.Range(a.t.Context(), 0, head.Size, func(i int64, e []byte) error {
			v, err := entry.Parse(bytes.Clone(e))
			for _, k := range kinds {
				if err == nil && v.Kind() == k {
					out = append(out, v)
				}
			}
			return err
		}); err != nil {
			a.t.Fatal(err)
		}
		return len(out) >= n
	})
	if len(out) != n {
		a.t.Fatalf("the log has %d of %v, %d are wanted", len(out), kinds, n)
	}
	return out
}

// hanging is a Disk whose syncs wait while it is held.
type hanging struct {
	audit.Disk
	mu sync.RWMutex
}

func (d *hanging) Create(name string, size int64) (audit.File, error) {
	f, err := d.Disk.Create(name, size)
	return hangingFile{f, d}, err
}

type hangingFile struct {
	audit.File
	d *hanging
}

func (f hangingFile) Sync() error {
	f.d.mu.RLock()
	defer f.d.mu.RUnlock()
	return f.File.Sync()
}

// auditedPair is pairOf with a FIX service and a log on each host.
func auditedPair(t testing.TB, change func(*catalog.Service), a App) (m *mesh, h1, h2 *host, log1, log2 *auditLog) {
	t.Helper()
	m = newMesh(t)
	h1, h2 = m.host("h1"), m.host("h2")
	m.service("strategy", catalog.TCP, h1)
	m.service("echo", catalog.FIX, h2)
	svc := m.state.Services["echo"]
	change(&svc)
	m.state.Services["echo"] = svc
	m.endpointOf("echo", h2)
	m.allow("strategy", "echo")
	m.publish()
	log1, log2 = h1.keepsLog(t), h2.keepsLog(t)
	m.run(h2, quick(), nil, map[string]App{"echo": a})
	m.run(h1, quick(), map[string]Upstream{"echo": {Service: "echo", As: "strategy", Listen: "127.0.0.1:0"}}, nil)
	return m, h1, h2, log1, log2
}

func orders(n int) (raw []byte, each [][]byte) {
	var b fix.Builder
	for i := range n {
		b.Begin("FIX.4.4", "D")
		b.String(49, "DESK")
		b.String(56, "GATEWAY")
		b.Int(34, int64(i+1))
		b.String(11, fmt.Sprint("ORD-", i))
		b.String(58, strings.Repeat("x", i*7%300))
		each = append(each, bytes.Clone(b.End()))
	}
	return bytes.Clone(b.Raw()), each
}

// TestEveryMessageIsInTheLogsOfBothHosts, with the digest of its bytes, which arrive as they were
// sent, however they were cut into pieces on their way.
func TestEveryMessageIsInTheLogsOfBothHosts(t *testing.T) {
	_, h1, _, log1, log2 := auditedPair(t, func(*catalog.Service) {}, echoApp(t))
	raw, each := orders(300)
	raw = append(raw, "no FIX at all"...)
	c := h1.dial(t, "echo")
	go func() {
		for at, n := 0, 1; at < len(raw); at, n = at+n, n*5%1777+1 {
			n = min(n, len(raw)-at)
			if _, err := c.Write(raw[at : at+n]); err != nil {
				t.Error(err)
				return
			}
		}
		c.CloseWrite()
	}()
	back, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(back, raw) {
		t.Fatalf("%v: %d bytes of %d came back", err, len(back), len(raw))
	}
	c.Close()
	var flow []byte
	for _, log := range []*auditLog{log1, log2} {
		opened := log.entries(1, entry.Opened)[0]
		if flow == nil {
			flow = opened.Bytes(entry.Flow)
		}
		if !bytes.Equal(opened.Bytes(entry.Flow), flow) || opened.Str(entry.Service) != "strategy" || opened.Str(entry.Peer) != "echo" || opened.Str(entry.Rule) != "strategy-echo" {
			t.Errorf("%s: opened as %s", log.Origin(), opened.AppendJSON(nil))
		}
		closed := log.entries(1, entry.Closed)[0]
		if closed.Uint(entry.Size) != 2*uint64(len(raw)) || closed.Uint(entry.Count) != 2*uint64(len(each)) {
			t.Errorf("%s: closed as %s", log.Origin(), closed.AppendJSON(nil))
		}
		next := map[string]int{}
		for _, v := range log.entries(2*len(each)+2, entry.Message) {
			way := v.Str(entry.Direction)
			i := next[way]
			next[way]++
			if i == len(each) {
				if v.Uint(entry.Marks)&entry.MarkGarbled == 0 || string(v.Bytes(entry.Content)) != "no FIX at all" {
					t.Errorf("what is no message is recorded as %s", v.AppendJSON(nil))
				}
				continue
			}
			sum := sha256.Sum256(each[i])
			if !bytes.Equal(v.Bytes(entry.Digest), sum[:]) || !bytes.Equal(v.Bytes(entry.Content), each[i]) || v.Str(entry.ClOrdID) != fmt.Sprint("ORD-", i) || v.Uint(entry.SeqNum) != uint64(i+1) {
				t.Fatalf("%s %s: message %d is recorded as %s", log.Origin(), way, i, v.AppendJSON(nil))
			}
		}
		if next["up"] != len(each)+1 || next["down"] != len(each)+1 {
			t.Errorf("%s: %v", log.Origin(), next)
		}
	}
}

// TestAClosedFlowEndsWhenItsLogTakesNothing: no message arrives that is in no log.
func TestAClosedFlowEndsWhenItsLogTakesNothing(t *testing.T) {
	arrived := make(chan []byte, 1)
	m, h1, _, log1, _ := auditedPair(t, func(s *catalog.Service) { s.AuditBudget = catalog.Duration(10 * time.Millisecond) }, app(t, func(c *net.TCPConn) {
		all, _ := io.ReadAll(c)
		arrived <- all
	}))
	_ = m
	log1.disk.mu.Lock()
	c := h1.dial(t, "echo")
	_, each := orders(1)
	sent := 0
	for ; ; sent++ {
		if _, err := c.Write(each[0]); err != nil {
			break
		}
	}
	got := <-arrived
	log1.disk.mu.Unlock()
	h1.refused(t, reason.AuditStalled)
	whole := len(got) / len(each[0])
	closed := log1.entries(1, entry.Closed)[0]
	recorded := 0
	head, _ := log1.Head()
	if err := log1.Range(t.Context(), 0, head.Size, func(_ int64, e []byte) error {
		v, err := entry.Parse(e)
		if err == nil && v.Kind() == entry.Message {
			recorded++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if whole == 0 || recorded < whole || recorded >= sent { // what was under way when it ended is recorded, and arrived nowhere
		t.Errorf("%d sent, %d recorded, %d arrived", sent, recorded, whole)
	}
	if reason.Code(closed.Uint(entry.Reason)) != reason.AuditStalled {
		t.Errorf("closed as %s", closed.AppendJSON(nil))
	}
}

// TestAnOpenFlowGoesOnWhenItsLogTakesNothing, and how many had no entry is in the log.
func TestAnOpenFlowGoesOnWhenItsLogTakesNothing(t *testing.T) {
	_, h1, _, log1, _ := auditedPair(t, func(s *catalog.Service) { s.AuditWhenFull = catalog.WhenFullOpen }, app(t, func(c *net.TCPConn) {
		_, _ = io.Copy(io.Discard, c)
	}))
	log1.disk.mu.Lock()
	c := h1.dial(t, "echo")
	raw, _ := orders(60000)
	if _, err := c.Write(raw); err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	log1.disk.mu.Unlock()
	var messages, gapped uint64
	defer func() { t.Logf("%d messages, %d without an entry", messages, gapped) }()
	eventually(t, "all are accounted for", func() bool {
		messages, gapped = 0, 0
		head, _ := log1.Head()
		_ = log1.Range(t.Context(), 0, head.Size, func(_ int64, e []byte) error {
			switch v, _ := entry.Parse(e); v.Kind() {
			case entry.Message:
				messages++
			case entry.Gap:
				gapped += v.Uint(entry.Count)
			}
			return nil
		})
		return gapped > 0 && messages+gapped == 60000
	})
}

func TestARefusedFlowIsRecordedWithItsRule(t *testing.T) {
	m, h1, h2, log1, _ := auditedPair(t, func(*catalog.Service) {}, echoApp(t))
	m.state.Rules["no"] = policy.Rule{Action: policy.Deny, From: []string{"strategy"}, To: []string{"echo"}}
	m.publish()
	c := h1.dial(t, "echo")
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("it is admitted")
	}
	v := log1.entries(1, entry.Refused)[0]
	if v.Str(entry.Rule) != "no" || reason.Code(v.Uint(entry.Reason)) != reason.DeniedByRule || v.Str(entry.Service) != "strategy" {
		t.Errorf("%s", v.AppendJSON(nil))
	}
	_ = h2
}

// TestEntriesNameTheRuleInForce: a new bundle that still allows the flow.
func TestEntriesNameTheRuleInForce(t *testing.T) {
	m, h1, _, log1, _ := auditedPair(t, func(*catalog.Service) {}, echoApp(t))
	c := h1.dial(t, "echo")
	_, each := orders(2)
	send := func(i int) {
		if _, err := c.Write(each[i]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, len(each[i]))); err != nil {
			t.Fatal(err)
		}
	}
	send(0)
	delete(m.state.Rules, "strategy-echo")
	m.state.Rules["other"] = policy.Rule{Action: policy.Allow, From: []string{"strategy"}, To: []string{"echo"}}
	m.publish()
	h1.proxy.Enforce(m.board.View())
	send(1)
	var rules []string
	for _, v := range log1.entries(4, entry.Message) {
		rules = append(rules, v.Str(entry.Direction)+" "+v.Str(entry.Rule))
	}
	if got := strings.Join(rules, ", "); !strings.HasSuffix(got, "up other, down other") || !strings.HasPrefix(got, "up strategy-echo, down strategy-echo") {
		t.Error(got)
	}
}

func TestEachHTTPRequestIsRecorded(t *testing.T) {
	m := newMesh(t)
	h1, h2 := m.host("h1"), m.host("h2")
	m.service("strategy", catalog.TCP, h1)
	m.service("echo", catalog.HTTP, h2)
	m.endpointOf("echo", h2)
	m.state.Rules["reads"] = policy.Rule{Action: policy.Allow, From: []string{"strategy"}, To: []string{"echo"}, Methods: []string{"GET"}}
	m.publish()
	log1, log2 := h1.keepsLog(t), h2.keepsLog(t)
	m.run(h2, quick(), nil, map[string]App{"echo": app(t, func(c *net.TCPConn) {
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	})})
	m.run(h1, quick(), map[string]Upstream{"echo": {Service: "echo", As: "strategy", Listen: "127.0.0.1:0"}}, nil)
	c := h1.dial(t, "echo")
	for _, method := range []string{"GET", "POST"} {
		if _, err := fmt.Fprintf(c, "%s /orders/17 HTTP/1.1\r\nHost: echo\r\nContent-Length: 0\r\n\r\n", method); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 4096)); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	all := log1.entries(2, entry.Request)
	if v := all[0]; v.Str(entry.Verb) != "GET" || v.Str(entry.Object) != "/orders/17" || v.Str(entry.Result) != "200" || v.Str(entry.Rule) != "reads" || v.Uint(entry.Reason) != 0 {
		t.Errorf("%s", v.AppendJSON(nil))
	}
	if v := all[1]; v.Str(entry.Verb) != "POST" || v.Str(entry.Result) != "403" || reason.Code(v.Uint(entry.Reason)) != reason.DeniedByDefault {
		t.Errorf("%s", v.AppendJSON(nil))
	}
	if v := log2.entries(1, entry.Request)[0]; v.Str(entry.Verb) != "GET" || v.Str(entry.Hop) != "server-proxy" {
		t.Errorf("%s", v.AppendJSON(nil))
	}
}
