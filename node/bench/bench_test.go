package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const childEnv = "FIRE_BENCH_TEST_CHILD"

// TestMain lets the test binary be the echo server, and a relay in front of one.
func TestMain(m *testing.M) {
	var err error
	switch role, args := os.Getenv(childEnv), os.Args; role {
	case "":
		goleak.VerifyTestMain(m)
		return
	case "echo":
		err = EchoChild(context.Background(), os.Stdin, os.Stdout, args[len(args)-1])
	case "relay":
		err = relayChild(args[len(args)-1])
	case "ring":
		err = RingPeer(context.Background(), os.Stdin, os.Stdout, args[len(args)-1])
	case "bench": // a measurement that goes on until it is killed
		cfg := DefaultRing()
		cfg.RoundTime, cfg.only = time.Minute, func(table string, _ int) bool { return table == args[len(args)-1] }
		_, err = RunRing(context.Background(), cfg, self("ring"), nil)
	case "ring-profiled":
		runtime.MemProfileRate = 1
		err = ringPeer(context.Background(), os.Stdin, os.Stdout, args[len(args)-1], ownMallocs)
	case "udp":
		var size int
		if size, err = strconv.Atoi(args[len(args)-1]); err == nil {
			err = UDPPeer(context.Background(), os.Stdin, os.Stdout, size)
		}
	case "silent":
		err = errors.New("no address today")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// self is the command line that starts this binary in a role.
func self(role string, args ...string) []string {
	return append([]string{"/usr/bin/env", childEnv + "=" + role, os.Args[0]}, args...)
}

func relayChild(target string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return ServeChild(context.Background(), os.Stdin, os.Stdout, l.Addr().String(), func(ctx context.Context) error {
		context.AfterFunc(ctx, func() { l.Close() })
		for {
			c, err := l.Accept()
			if err != nil {
				return nil
			}
			go relay(c, target, nil)
		}
	})
}

// relay joins c with target; pause, when not nil, is called before each read of it.
func relay(c net.Conn, target string, pause func()) {
	defer c.Close()
	d, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer d.Close()
	go func() { io.Copy(c, d); c.Close() }()
	buf := make([]byte, 1<<16)
	for {
		if pause != nil {
			pause()
		}
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		d.Write(buf[:n])
	}
}

func quick() Config {
	c := Default()
	c.Sizes = []int{64, 1024}
	c.Rounds, c.RoundTime, c.Warmup = 2, 60*time.Millisecond, 10*time.Millisecond
	return c
}

func startRelay(ctx context.Context, target string) (Pair, error) {
	return StartChild(ctx, self("relay", target)...)
}

func TestRunMeasuresEveryPathSizeAndTable(t *testing.T) {
	cfg := quick()
	cfg.Idle = 50
	b, err := New(cfg, Deps{StartPair: startRelay, EchoCommand: self("echo")})
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Rows) != 2*2*2 || res.Echo != "process" || res.PairInBenchProcess {
		t.Fatalf("%d rows, echo %s, pair inside %v", len(res.Rows), res.Echo, res.PairInBenchProcess)
	}
	for _, r := range res.Rows {
		quantiles := []int64{1, r.P50NS, r.P99NS, r.P999NS, r.P9999, r.MaxNS}
		if !slices.IsSorted(quantiles) || r.Messages == 0 || r.Unanswered != 0 || len(r.RoundP50NS) != 2 || r.Latency.Count() != r.Messages {
			t.Errorf("%s %s %d: %+v", r.Table, r.Path, r.SizeBytes, r)
		}
		if (r.Path == direct) != (r.AddedP50NS == nil) || r.CPUEndsNSPerMessage == nil || (r.Path == ours) != (r.CPUPathNSPerMessage != nil) {
			t.Errorf("%s %s: added %v, cpu of path %v, of ends %v", r.Table, r.Path, r.AddedP50NS, r.CPUPathNSPerMessage, r.CPUEndsNSPerMessage)
		}
		if r.Table == FixedRate && (r.Messages != 2*120 || r.SendLateP99NS == 0) {
			t.Errorf("fixed rate: %d messages, want 240", r.Messages)
		}
	}
	if len(res.Idle) != 1 || res.Idle[0].Path != ours || res.Idle[0].RSSAfterBytes < 1<<20 {
		t.Errorf("idle %+v", res.Idle)
	}
	if text, err := json.Marshal(res); err != nil || !strings.Contains(string(text), `"p9999_ns"`) {
		t.Errorf("%v %s", err, text)
	}
}

// TestStallIsSeenByEveryMessageDueInIt is the point of the open loop. The relay
// stops once for a time; a closed loop would show one slow message, an open loop
// shows all that fell due meanwhile.
func TestStallIsSeenByEveryMessageDueInIt(t *testing.T) {
	const stall = 200 * time.Millisecond
	echo, stopEcho := localServer(t, func(c net.Conn) { echo(c) })
	defer stopEcho()
	reads := 0
	slow, stopSlow := localServer(t, func(c net.Conn) {
		relay(c, echo, func() {
			if reads++; reads == 100 {
				<-time.After(stall)
			}
		})
	})
	defer stopSlow()
	cfg := quick()
	cfg.Connections, cfg.RatePerSecond, cfg.RoundTime = 1, 1000, 500*time.Millisecond
	x, err := fixedRate(t.Context(), slow, 64, cfg)
	if err != nil {
		t.Fatal(err)
	}
	over := uint64(0)
	for b, n := range x.latency.Buckets() {
		if b.Low > stall/4 {
			over += n
		}
	}
	if want := uint64(stall * 3 / 4 / time.Millisecond * 9 / 10); over < want || x.max < stall*9/10 {
		t.Fatalf("%d messages saw a quarter of the stall, want %d; max %v", over, want, x.max)
	}
}

func TestChangedBytesEndTheRun(t *testing.T) {
	bad, stop := localServer(t, func(c net.Conn) {
		defer c.Close()
		buf := make([]byte, 64)
		for n := 0; ; n++ {
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			if n == 20 {
				buf[0] ^= 1
			}
			c.Write(buf)
		}
	})
	defer stop()
	cfg := quick()
	cfg.Connections = 1
	for table, run := range map[string]func() (sample, error){
		PingPong:  func() (sample, error) { return pingPong(t.Context(), bad, 64, 0, time.Second) },
		FixedRate: func() (sample, error) { return fixedRate(t.Context(), bad, 64, cfg) },
	} {
		if _, err := run(); err == nil || !strings.Contains(err.Error(), "changes bytes") {
			t.Errorf("%s: %v", table, err)
		}
	}
}

func TestCancelEndsARunAtOnce(t *testing.T) {
	hole, stop := localServer(t, func(c net.Conn) { io.Copy(io.Discard, c); c.Close() })
	defer stop()
	for table, run := range map[string]func(context.Context) (sample, error){
		PingPong:  func(ctx context.Context) (sample, error) { return pingPong(ctx, hole, 64, 0, time.Hour) },
		FixedRate: func(ctx context.Context) (sample, error) { return fixedRate(ctx, hole, 64, quick()) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t0 := time.Now()
		_, err := run(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(t0) > AnswerTimeout {
			t.Errorf("%s: %v after %v", table, err, time.Since(t0))
		}
	}
}

// TestGivenTargetIsMeasuredWithoutStartingAnything measures a relay that somebody
// else has started in front of an echo server that somebody else has started.
func TestGivenTargetIsMeasuredWithoutStartingAnything(t *testing.T) {
	echo, stop := localServer(t, func(c net.Conn) { echo(c) })
	defer stop()
	theirs, err := StartChild(t.Context(), self("relay", echo)...)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	cfg := quick()
	cfg.Sizes, cfg.Rounds, cfg.RatePerSecond = []int{256}, 1, 0
	cfg.Target, cfg.Baseline = Path{Address: theirs.Address(), PIDs: theirs.PIDs()}, echo
	cfg.Rivals = []Path{{Name: "another", Address: theirs.Address()}}
	b, err := New(cfg, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Rows) != 3 || res.Echo != "given" || res.Rows[1].CPUPathNSPerMessage == nil || res.Rows[2].CPUPathNSPerMessage != nil {
		t.Fatalf("%+v", res.Rows)
	}
}

func TestUnreachablePathIsNamedBeforeAnythingIsMeasured(t *testing.T) {
	cfg := quick()
	cfg.Rivals = []Path{{Name: "haproxy", Address: "127.0.0.1:1"}}
	b, err := New(cfg, Deps{StartPair: startRelay})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "haproxy") {
		t.Fatal(err)
	}
}

func TestChildThatFailsSaysWhy(t *testing.T) {
	if _, err := StartChild(t.Context(), self("silent")...); err == nil || !strings.Contains(err.Error(), "no address today") {
		t.Fatal(err)
	}
	if _, err := StartChild(t.Context(), "/nonexistent/program"); err == nil {
		t.Fatal("a program that is not there was started")
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	if _, err := New(Config{Target: Path{Address: "x:1"}, Sizes: []int{1}, RatePerSecond: -1, Idle: -1, Warmup: -1, Rivals: []Path{{Name: "fire"}}}, Deps{}); err == nil ||
		len(strings.Split(err.Error(), "\n")) != 9 {
		t.Fatalf("got %v", err)
	}
	if _, err := New(Default(), Deps{}); err == nil {
		t.Fatal("a bench of nothing was made")
	}
}

func TestParsePath(t *testing.T) {
	p, err := ParsePath("haproxy=127.0.0.1:7101,pid=12,pid=13")
	if err != nil || p.Name != "haproxy" || p.Address != "127.0.0.1:7101" || !slices.Equal(p.PIDs, []int{12, 13}) {
		t.Fatalf("%+v %v", p, err)
	}
	if p, err := ParseTarget("127.0.0.1:7101,pid=12"); err != nil || p.Address != "127.0.0.1:7101" || !slices.Equal(p.PIDs, []int{12}) {
		t.Fatalf("%+v %v", p, err)
	}
	for _, s := range []string{"", "haproxy", "=127.0.0.1:1", "h=127.0.0.1", "h=127.0.0.1:1,pid=x", "h=127.0.0.1:1,cpu=1", "h=127.0.0.1:1,pid=0"} {
		if p, err := ParsePath(s); err == nil {
			t.Errorf("%q gave %+v", s, p)
		}
	}
}

func TestProcessorTimeIsTheProcesss(t *testing.T) {
	c, err := StartChild(t.Context(), self("echo", "127.0.0.1:0")...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before := cpuTime(c.PIDs())
	if before <= 0 {
		t.Fatalf("processor time %v", before)
	}
	x, err := pingPong(t.Context(), c.Address(), 64, 0, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	used := spent(before, cpuTime(c.PIDs()))
	if used <= 0 || used > 8*x.elapsed {
		t.Fatalf("the echo server used %v in %v", used, x.elapsed)
	}
	if cpuTime([]int{1 << 30}) >= 0 || cpuTime(nil) >= 0 {
		t.Fatal("a process that is not there has processor time")
	}
}

// localServer runs serve for each connection until stop, which waits.
func localServer(t *testing.T, serve func(net.Conn)) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan struct{}, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n := 0
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			n++
			go func() { serve(c); conns <- struct{}{} }()
		}
		for range n {
			<-conns
		}
	}()
	return l.Addr().String(), func() { l.Close(); <-done }
}
