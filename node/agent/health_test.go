package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func check(t *testing.T, address string, h Health) error {
	t.Helper()
	return newChecker("orders", Service{Address: address, Health: h}).check(t.Context())
}

func TestTCPCheck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	if err := check(t, addr, Health{Type: CheckTCP}); err != nil {
		t.Error(err)
	}
	l.Close()
	if err := check(t, addr, Health{Type: CheckTCP}); !definite(err) {
		t.Errorf("nobody listens, got %v", err)
	}
	path := filepath.Join(t.TempDir(), "s")
	if err := check(t, "unix:"+path, Health{Type: CheckTCP}); !definite(err) {
		t.Errorf("no socket, got %v", err)
	}
	u, err := net.Listen("unix", path)
	must(t, err)
	defer u.Close()
	if err := check(t, "unix:"+path, Health{Type: CheckTCP}); err != nil {
		t.Error(err)
	}
}

func TestHTTPCheck(t *testing.T) {
	mute := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/mute":
			<-mute
		case "/big":
			for n := range 100 {
				w.Header().Set("X-"+strconv.Itoa(n), strings.Repeat("x", 100))
			}
		case "/elsewhere":
			http.Redirect(w, r, "/down", http.StatusFound)
		case "/down":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	defer close(mute)
	addr := s.Listener.Addr().String()
	for path, want := range map[string]string{"/": "", "/elsewhere": "", "/down": "status 503", "/mute": "no answer within", "/big": "larger than"} {
		err := check(t, addr, Health{Type: CheckHTTP, Path: path, Timeout: 300 * time.Millisecond})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
}

func TestHTTPCheckRefusesWhatTheProxyWouldRefuse(t *testing.T) {
	for answer, want := range map[string]string{
		"SSH-2.0-OpenSSH\r\n\r\n":                  "http_malformed",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n": "ends early",
		"": "ends early",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n": "",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Read(make([]byte, 1024))
			_, _ = c.Write([]byte(answer))
		}()
		err = check(t, l.Addr().String(), Health{Type: CheckHTTP, Path: "/"})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", answer, err, want)
		}
		l.Close()
	}
}

func TestCommandCheckIsBoundedInTimeAndOutput(t *testing.T) {
	run := func(script string) error {
		return check(t, "a:1", Health{Type: CheckCommand, Command: []string{"/bin/sh", "-c", script}, Timeout: 500 * time.Millisecond})
	}
	if err := run(`test "$FIRE_SERVICE $FIRE_ADDRESS" = "orders a:1"`); err != nil {
		t.Error(err)
	}
	err := run("echo not ready: journal; echo second line; exit 3")
	if err == nil || err.Error() != "exit status 3: not ready: journal" {
		t.Errorf("got %v", err)
	}
	if err := run("yes | head -c 10000000; exit 1"); err == nil || len(err.Error()) > 300 {
		t.Errorf("got %d bytes of error", len(fmt.Sprint(err)))
	}
	pid := filepath.Join(t.TempDir(), "pid")
	begun := time.Now()
	if err := run("sleep 60 & echo $! > " + pid + "; wait"); err == nil || !strings.Contains(err.Error(), "no end within") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	text, err := os.ReadFile(pid)
	must(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	for syscall.Kill(child, 0) == nil { // reaped by init a moment after the kill; the test's own time-out bounds it
		if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child)); err != nil || strings.Contains(string(state), ") Z ") {
			break
		}
		if t.Context().Err() != nil || time.Since(begun) > 30*time.Second {
			t.Fatal("the check left a child behind")
		}
	}
}

func TestJudgeNeedsARunExceptForProof(t *testing.T) {
	slow, refused, other := errors.New("slow"), fmt.Errorf("dial: %w", syscall.ECONNREFUSED), errors.New("status 503")
	type step struct {
		err     error
		healthy bool
		changed bool
	}
	for name, steps := range map[string][]step{
		"the first decides":            {{nil, true, true}, {nil, true, false}},
		"the first decides, bad":       {{slow, false, true}, {slow, false, false}, {nil, false, false}, {nil, true, true}},
		"one slow check is a pause":    {{nil, true, true}, {slow, true, false}, {nil, true, false}, {slow, true, false}, {slow, false, true}},
		"different failures add up":    {{nil, true, true}, {slow, true, false}, {other, false, true}},
		"refused is proof":             {{nil, true, true}, {refused, false, true}, {nil, false, false}, {nil, true, true}},
		"good ones must be in a row":   {{slow, false, true}, {nil, false, false}, {slow, false, false}, {nil, false, false}, {nil, true, true}},
		"a new reason must last, too":  {{slow, false, true}, {other, false, false}, {slow, false, false}, {other, false, false}, {other, false, true}},
		"refused after slow is slower": {{slow, false, true}, {refused, false, false}, {refused, false, true}},
	} {
		j := judge{rise: 2, fall: 2}
		for n, s := range steps {
			if changed := j.observe(s.err); changed != s.changed || j.healthy != s.healthy || (j.why == "") != s.healthy {
				t.Errorf("%s, step %d: changed %v, healthy %v, why %q; want %v, %v", name, n, changed, j.healthy, j.why, s.changed, s.healthy)
			}
		}
	}
}

func TestADialFailureSeenByTheProxyIsCheckedAtOnce(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	seldom := func(_ *Config, _ *Host, s map[string]Service, _ *Deps) {
		o := s["orders"]
		o.Address, o.Health = l.Addr().String(), Health{Type: CheckTCP, Interval: time.Hour, Timeout: time.Second, Rise: 1, Fall: 2}
		s["orders"] = o
	}
	a := w.start(t, t.TempDir()+"/agent", withToken(w.token("")), seldom)
	state := func(healthy bool) bool {
		e, ok := w.endpoint("orders", "h1")
		return ok && e.Healthy == healthy
	}
	until(t, "healthy", func() bool { return state(true) })
	l.Close()
	a.ReportDialFailure("orders") // the next check by itself is an hour away
	until(t, "found out", func() bool { return state(false) })
	a.ReportDialFailure("unknown")
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("never %s", what)
		case <-tick.C:
		}
	}
}

func TestConfigProblemsAreAllTold(t *testing.T) {
	var got []string
	bad := func(key, problem string) { got = append(got, key) }
	c := Config{Controls: []string{"nonsense"}, ReconnectMax: time.Hour}
	c.Check(bad)
	if want := "controls reconnect_min reconnect_max dial_timeout write_timeout"; strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
	got = nil
	s := Service{Address: "x", Protocol: "udp", Health: Health{Type: "ping", Interval: -1}}
	s.Check(bad)
	if want := "address protocol weight health.type health.interval health.rise health.fall"; strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
	got = nil
	d, ds := Default(), DefaultService()
	d.Check(bad)
	ds.Check(bad)
	ds.Health = Health{Type: CheckHTTP, Path: "x y", Rise: 1, Fall: 1}
	ds.Check(bad)
	ds.Health = Health{Type: CheckCommand, Command: []string{"true"}, Rise: 1, Fall: 1}
	ds.Check(bad)
	if want := "health.path health.command"; strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
}

func TestOneLineIsSafeToLog(t *testing.T) {
	in := "first\x1b[31m\x00 line\xff\nsecond"
	if got := oneLine(in); strings.ContainsAny(got, "\n\x1b\x00") || !strings.HasPrefix(got, "first") || strings.Contains(got, "second") {
		t.Errorf("got %q", got)
	}
	if got := oneLine(strings.Repeat("é", 500)); len(got) > 200 || !strings.HasSuffix(got, "é") {
		t.Errorf("got %d bytes", len(got))
	}

}
