package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// pairTo starts a control and two proxies in front of target and returns the address
// where a client connects.
func pairTo(t *testing.T, protocol, target string) (address string, p *process) {
	t.Helper()
	cmd := fireCommand(t, t.TempDir(), "bench", "pair", "--protocol", protocol, target)
	in, err := cmd.StdinPipe() // it ends when this does
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	p = start(t, "fire bench pair", cmd)
	line := p.printed(20*time.Second, "address ")
	return strings.TrimSpace(strings.TrimPrefix(line, "address ")), p
}

// echoApp is an application that sends back what it gets and half-closes after the
// client did.
func echoApp(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				io.Copy(c, c)
				c.(*net.TCPConn).CloseWrite()
			})
		}
	})
	t.Cleanup(func() { ln.Close(); open.Wait() })
	return ln.Addr().String()
}

func TestTwoThousandConnectionsAtOnce(t *testing.T) {
	address, _ := pairTo(t, "tcp", echoApp(t))
	const count = 2000
	conns := make([]net.Conn, count)
	t.Cleanup(func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	})
	errs := make(chan error, count)
	gate := make(chan struct{}, 64) // dialling; all stay open
	var dialled sync.WaitGroup
	for i := range conns {
		gate <- struct{}{}
		dialled.Go(func() {
			defer func() { <-gate }()
			c, err := net.DialTimeout("tcp", address, 20*time.Second)
			if err != nil {
				errs <- err
				return
			}
			conns[i] = c
			errs <- exchange(c, i)
		})
	}
	dialled.Wait()
	for range count {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range conns { // all at once open, each still its own
		if err := exchange(c, count+i); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
}

// exchange sends a message that only connection n sends and wants it back.
func exchange(c net.Conn, n int) error {
	c.SetDeadline(time.Now().Add(30 * time.Second))
	want := fmt.Appendf(nil, "message of connection %08d", n)
	if _, err := c.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

// TestLargeTransferArrivesWhole sends both ways at once; 1 GiB with FIRE_REAL.
func TestLargeTransferArrivesWhole(t *testing.T) {
	size := int64(64 << 20)
	if os.Getenv("FIRE_REAL") == "1" {
		size = 1 << 30
	}
	address, _ := pairTo(t, "tcp", echoApp(t))
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	sent, got := sha256.New(), sha256.New()
	done := make(chan error, 1)
	go func() { done <- sendNoise(c, sent, size) }()
	n, err := io.Copy(got, c)
	if sendErr := <-done; err != nil || sendErr != nil || n != size {
		t.Fatalf("%d of %d bytes came back: %v, %v", n, size, err, sendErr)
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Fatal("what came back is not what was sent")
	}
}

func sendNoise(c net.Conn, sum hash.Hash, size int64) error {
	r := rand.NewChaCha8([32]byte{1})
	if _, err := io.Copy(io.MultiWriter(c, sum), io.LimitReader(r, size)); err != nil {
		return err
	}
	return c.(*net.TCPConn).CloseWrite()
}

// webApp answers with what it was asked.
func webApp(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/size":
			n, _ := strconv.Atoi(r.URL.Query().Get("n"))
			w.Write(bytes.Repeat([]byte("x"), n))
		case "/fail":
			http.Error(w, "no", http.StatusInternalServerError)
		default:
			b, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %d %v traceparent=%s", r.Method, r.URL.RequestURI(), len(b), err, r.Header.Get("traceparent"))
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestCurlOverHTTP(t *testing.T) {
	real(t, "curl")
	address, _ := pairTo(t, "http", webApp(t))
	url := "http://" + address
	upload := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(upload, bytes.Repeat([]byte("y"), 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"GET /a?b=c 0 <nil> traceparent=00-", []string{url + "/a?b=c"}},
		{"POST /a 3145728 <nil>", []string{"-H", "Expect: 100-continue", "--data-binary", "@" + upload, url + "/a"}},
		{"PUT /a 3145728 <nil>", []string{"-H", "Transfer-Encoding: chunked", "-T", upload, url + "/a"}},
		{"traceparent=00-0af7651916cd43dd8448eb211c80319c-", []string{"-H", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", url + "/a"}},
		{"HTTP/1.1 200", []string{"-I", url + "/a"}},
		{"HTTP/1.1 500", []string{"-i", url + "/fail"}},
		{"x-fire-reason: http_path_unclean", []string{"-i", "--path-as-is", url + "/a/../b"}},
	} {
		out := run(t, 30*time.Second, "curl", append([]string{"-s", "--max-time", "20"}, tc.args...)...)
		if !strings.Contains(strings.ToLower(out), strings.ToLower(tc.want)) {
			t.Errorf("curl %v: want %q in\n%.500s", tc.args, tc.want, out)
		}
	}
}

func TestWrkSeesNoError(t *testing.T) {
	real(t, "wrk")
	address, _ := pairTo(t, "http", webApp(t))
	out := run(t, 60*time.Second, "wrk", "-t2", "-c64", "-d5s", "--timeout", "20s", "http://"+address+"/size?n=256")
	m := regexp.MustCompile(`(\d+) requests in`).FindStringSubmatch(out)
	if m == nil || m[1] == "0" || strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") {
		t.Fatalf("wrk:\n%s", out)
	}
	t.Log(strings.TrimSpace(out))
}

func TestPostgreSQLAsOpaqueTCP(t *testing.T) {
	real(t, "psql", "pgbench")
	server := startPostgres(t)
	address, _ := pairTo(t, "tcp", server)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	base := []string{"-h", host, "-p", port, "-U", "fire"}
	out := run(t, 30*time.Second, "psql", append(base, "-Atc", "select sum(n), md5(string_agg(n::text, ',')) from generate_series(1, 100000) n", "postgres")...)
	direct := run(t, 30*time.Second, "psql", "-h", "127.0.0.1", "-p", strings.Split(server, ":")[1], "-U", "fire", "-Atc",
		"select sum(n), md5(string_agg(n::text, ',')) from generate_series(1, 100000) n", "postgres")
	if out != direct || !strings.HasPrefix(out, "5000050000|") {
		t.Fatalf("through the mesh %q, directly %q", out, direct)
	}
	run(t, 120*time.Second, "pgbench", append(base, "-q", "-i", "-s", "2", "postgres")...)
	out = run(t, 60*time.Second, "pgbench", append(base, "-c", "8", "-j", "2", "-T", "5", "postgres")...)
	if !strings.Contains(out, "number of failed transactions: 0 ") {
		t.Fatalf("pgbench:\n%s", out)
	}
	t.Log(strings.TrimSpace(out))
}

// startPostgres runs a server of its own in a throw-away folder. It refuses root, so
// it runs as the user that Debian's package makes.
func startPostgres(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		t.Skip("the PostgreSQL server is absent")
	}
	bin := filepath.Dir(found[len(found)-1])
	as := func(args ...string) *exec.Cmd {
		if os.Geteuid() == 0 {
			args = append([]string{"runuser", "-u", "postgres", "--"}, args...)
		}
		return exec.Command(args[0], args[1:]...)
	}
	dir, err := os.MkdirTemp("", "fire-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Skip("there is no user postgres to run the server as")
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	init := as(filepath.Join(bin, "initdb"), "-D", dir+"/data", "-U", "fire", "-A", "trust", "--no-sync")
	if out, err := init.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	// postgres itself, not runuser, must get the signals: exec by a shell.
	server := as("sh", "-c", "exec "+filepath.Join(bin, "postgres")+" -D "+dir+"/data -p "+port+" -c listen_addresses=127.0.0.1 -c unix_socket_directories="+dir+" -c fsync=off")
	start(t, "postgres", server).printed(30*time.Second, "ready to accept connections")
	return address
}

// TestQuickFIXTradesThroughTheMesh lets a FIX engine that is not ours log on through a
// proxy pair and trade with the demonstration gateway.
func TestQuickFIXTradesThroughTheMesh(t *testing.T) {
	real(t, "g++")
	program := filepath.Join(t.TempDir(), "initiator")
	source := filepath.Join("..", "..", "testdata", "quickfix", "initiator.cpp")
	if out, err := exec.Command("g++", "-std=c++14", "-O0", "-w", "-o", program, source, "-lquickfix", "-lpthread").CombinedOutput(); err != nil {
		if strings.Contains(string(out), "quickfix/") {
			t.Skip("QuickFIX is absent")
		}
		t.Fatalf("g++: %v\n%s", err, out)
	}
	dir := t.TempDir()
	engine, risk, blotter, gateway := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	demo := func(args ...string) {
		start(t, "fire demo "+args[0], fireCommand(t, dir, append([]string{"demo"}, args...)...)).printed(20*time.Second, "listens at")
	}
	demo("engine", "--listen", engine)
	demo("risk", "--listen", risk)
	demo("blotter", "--listen", blotter)
	demo("gateway", "--listen", gateway, "--risk", risk, "--engine", engine, "--blotter", blotter)
	address, _ := pairTo(t, "fix", gateway)
	host, port, _ := net.SplitHostPort(address)
	out := run(t, 120*time.Second, program, host, port, "QUICKFIX", "exact")
	if n := strings.Count(out, "ok "); n != 15 {
		t.Errorf("%d steps went well, want 15:\n%s", n, out)
	}
}
