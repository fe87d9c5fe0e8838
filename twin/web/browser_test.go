package web

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fire/twin"
)

// TestMapInBrowser drives the page in Chromium (testdata/browser/map.mjs). It needs
// FIRE_BROWSER=1, node, /usr/bin/chromium and `npm ci` in testdata/browser. FIRE_SHOTS names a folder for
// screenshots; FIRE_HOLD a time to go on serving, to look at the page by hand;
// FIRE_FLOOR=crowd serves a wide floor meanwhile.
func TestMapInBrowser(t *testing.T) {
	script, err := filepath.Abs("../../testdata/browser/map.mjs")
	if err != nil {
		t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	hold, _ := time.ParseDuration(os.Getenv("FIRE_HOLD"))
	switch {
	case os.Getenv("FIRE_BROWSER") == "":
		t.Skip("half a minute of browser: set FIRE_BROWSER=1")
	case err != nil:
		t.Skip("no node program")
	case !exists("/usr/bin/chromium"):
		t.Skip("no /usr/bin/chromium")
	case !exists(filepath.Join(filepath.Dir(script), "node_modules", "playwright-core")):
		t.Skip("no playwright-core: run `npm ci` in testdata/browser")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	tw := twin.New(twin.Default(), nil)
	f := newFloor(tw)
	if os.Getenv("FIRE_FLOOR") == "crowd" {
		f.crowd(24, 160)
	}
	cfg := Default()
	cfg.Listen = "127.0.0.1:0"
	s := New(cfg, tw, slog.New(slog.DiscardHandler))
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { _ = tw.Run(ctx) })
	wg.Go(func() { _ = s.Run(ctx) })
	wg.Go(func() { f.run(ctx) })
	wire := newWire(t, addr.String())
	fault := serveFaults(t, f, wire)
	t.Logf("map at http://%s/, faults at %s", wire.addr, fault)
	if hold > 0 {
		fmt.Fprintf(os.Stderr, "map at http://%s/ faults at %s\n", wire.addr, fault)
		time.Sleep(hold)
	}
	args := []string{script, "http://" + wire.addr + "/", "--fault", fault + "/fault?share=0.3", "--clear", fault + "/fault?share=0", "--cut", fault + "/cut"}
	if dir := os.Getenv("FIRE_SHOTS"); dir != "" {
		args = append(args, "--shots", dir)
	}
	run, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	out, err := exec.CommandContext(run, node, args...).CombinedOutput()
	t.Logf("%s", strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatalf("map.mjs: %v", err)
	}
}

// serveFaults lets the browser test break the floor.
func serveFaults(t *testing.T, f *floor, wire *wireCutter) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cut" {
			wire.cut(2 * time.Second)
			return
		}
		var share float64
		_, _ = fmt.Sscan(r.URL.Query().Get("share"), &share)
		edge := cmp.Or(r.URL.Query().Get("edge"), "gateway>risk")
		f.fault(edge, share)
		f.lose(r.URL.Query().Get("lose"))
		fmt.Fprintln(w, edge)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return "http://" + l.Addr().String()
}

// wireCutter is the network between browser and server.
type wireCutter struct {
	addr string
	mu   sync.Mutex
	down time.Time // refuses until then
	open map[net.Conn]bool
}

func newWire(t *testing.T, to string) *wireCutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wireCutter{addr: l.Addr().String(), open: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { w.carry(c, to) })
		}
	})
	t.Cleanup(func() { l.Close(); w.cut(time.Hour); wg.Wait() })
	return w
}

func (w *wireCutter) carry(c net.Conn, to string) {
	defer c.Close()
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer s.Close()
	w.mu.Lock()
	refused := time.Now().Before(w.down)
	w.open[c], w.open[s] = true, true
	w.mu.Unlock()
	if refused {
		return
	}
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{c, s}, {s, c}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
		})
	}
	wg.Wait()
}

func (w *wireCutter) cut(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = time.Now().Add(d)
	for c := range w.open {
		c.Close()
		delete(w.open, c)
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
