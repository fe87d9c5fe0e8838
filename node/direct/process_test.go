package direct

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fire/policy"
	"fire/policy/id"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

// TestChild is no test: it is the other processes of the tests below.
func TestChild(t *testing.T) {
	role := os.Getenv("FIRE_TEST_ROLE")
	if role == "" {
		t.Skip("runs only as a process of other tests")
	}
	socket, name, service := os.Getenv("FIRE_TEST_SOCKET"), os.Getenv("FIRE_TEST_CHANNEL"), os.Getenv("FIRE_TEST_SERVICE")
	o := channel.Options{Socket: socket, Channel: name, Service: service}
	ctx := context.Background()
	switch role {
	case "broker":
		childBroker(t, ctx, socket)
	case "paced":
		childPaced(ctx, o)
	case "timed":
		childTimed(ctx, o)
	case "starved":
		childStarved(ctx, o)
	case "publisher":
		p, err := channel.OpenPublisher(ctx, o)
		if err != nil {
			fmt.Println("failed", err)
			return
		}
		fmt.Println("attached")
		if os.Getenv("FIRE_TEST_LEAK") != "" {
			pid, err := leak()
			if err != nil {
				fmt.Println("failed", err)
			}
			fmt.Println("child", pid)
		}
		var b [8]byte
		for k := uint64(0); ; {
			binary.LittleEndian.PutUint64(b[:], k)
			switch p.Offer(1, b[:]) {
			case shm.Sent:
				k++
			case shm.Shut:
				fmt.Println("shut after", k)
				return
			default:
				runtime.Gosched()
			}
		}
	case "poller":
		o.Wait = "poll"
		s, err := channel.OpenSubscriber(ctx, o)
		if err != nil {
			fmt.Println("failed", err)
			return
		}
		childPolls(s)
	case "clinger": // attaches, reads one message, and then never looks at its gate
		s, err := channel.OpenSubscriber(ctx, o)
		if err != nil {
			fmt.Println("failed", err)
			return
		}
		fmt.Println("attached")
		for n, h := 0, (channel.Handler{}); n == 0; {
			n, _ = s.Poll(1, &h)
		}
		fmt.Println("clings")
		time.Sleep(time.Minute)
		_ = s.Close()
	case "subscriber":
		s, err := channel.OpenSubscriber(ctx, o)
		if err != nil {
			fmt.Println("failed", err)
			return
		}
		fmt.Println("attached")
		n := 0
		h := channel.Handler{Message: func(*channel.Source, uint16, []byte) { n++ },
			Ended: func(_ *channel.Source, why *reason.Error) { fmt.Println("lane ended", why.Code) }}
		for told := 0; ; {
			if _, err := s.Poll(1000, &h); err != nil {
				fmt.Println("ended", err)
				return
			}
			s.Wait()
			if n/1000 > told {
				told = n / 1000
				fmt.Println("read", n)
			}
		}
	}
}

func childBroker(t *testing.T, ctx context.Context, socket string) {
	if n, err := strconv.Atoi(os.Getenv("FIRE_TEST_FILES")); err == nil {
		limit := syscall.Rlimit{Cur: uint64(n), Max: uint64(n)}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			fmt.Println("failed", err)
			return
		}
	}
	if n, err := strconv.Atoi(os.Getenv("FIRE_TEST_FILE_SIZE")); err == nil {
		limit := syscall.Rlimit{Cur: uint64(n), Max: uint64(n)}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			fmt.Println("failed", err)
			return
		}
	}
	cfg := Default()
	if n, err := strconv.Atoi(os.Getenv("FIRE_TEST_MEMLOCK")); err == nil {
		limit := syscall.Rlimit{Cur: uint64(n), Max: uint64(n)}
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, (*unix.Rlimit)(&limit)); err != nil {
			fmt.Println("failed", err)
			return
		}
		cfg.Lock = os.Getenv("FIRE_TEST_LOCK")
	}
	if group := os.Getenv("FIRE_TEST_GROUP"); group != "" {
		if err := os.WriteFile(group, []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			fmt.Println("failed", err)
			return
		}
	}
	cfg.Socket, cfg.Grace = socket, 500*time.Millisecond
	b, err := New(cfg, Deps{Programs: programs(t, "publisher", "second", "subscriber", "other"), Record: func(e Event) error {
		fmt.Println("event", e.Kind, e.Service)
		return nil
	}, Log: quiet()})
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	table, _ := policy.Compile("floor", nil)
	floor := map[string]policy.Channel{"orders": chan0(policy.Orders), "md": chan0(policy.Broadcast), "wide": chan0(policy.Orders)}
	wide := floor["wide"]
	wide.Size = 64 << 20
	floor["wide"] = wide
	if os.Getenv("FIRE_TEST_DENY") != "" {
		delete(floor, "orders")
	}
	err = b.Update(ctx, &Rules{Version: 1, Domain: id.Domain{Region: "eu", Mesh: "floor"}, Node: "h1", Table: table, Channels: floor,
		Revoked: func(id.Principal) bool { return false }, Placed: func(string, string) bool { return true }})
	fmt.Println("attached", err)
	fmt.Println("ended", <-done)
}

// child is another process.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser // nil of who reads none
	lines chan string
}

func start(t *testing.T, role, socket, name, service string, env ...string) *child {
	t.Helper()
	c := &child{t: t, lines: make(chan string, 1<<16)}
	c.cmd = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.timeout=60s")
	c.cmd.Env = append(os.Environ(), "FIRE_TEST_ROLE="+role, "FIRE_TEST_SOCKET="+socket, "FIRE_TEST_CHANNEL="+name, "FIRE_TEST_SERVICE="+service)
	c.cmd.Env = append(c.cmd.Env, env...)
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = os.Stderr
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "FIRE_TEST_MEMLOCK=") }) && os.Getuid() == 0 {
		setpriv, err := exec.LookPath("setpriv") // of util-linux: root locks whatever it likes else
		if err != nil {
			t.Skip(err)
		}
		c.cmd.Path, c.cmd.Args = setpriv, append([]string{setpriv, "--bounding-set=-ipc_lock", c.cmd.Path}, c.cmd.Args[1:]...)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		in := bufio.NewScanner(out)
		for in.Scan() {
			select {
			case c.lines <- in.Text():
			default: // nobody looks any more
			}
		}
		io.Copy(io.Discard, out)
	}()
	t.Cleanup(c.kill)
	c.until("attached")
	return c
}

func (c *child) signal(s syscall.Signal) {
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Error(err)
	}
}

// say writes to the process's standard input.
func (c *child) say(words string) {
	if _, err := io.WriteString(c.in, words); err != nil {
		c.t.Error(err)
	}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// until waits for a line that begins so.
func (c *child) until(prefix string) string {
	c.t.Helper()
	limit := time.After(15 * time.Second)
	for {
		select {
		case l, ok := <-c.lines:
			if !ok {
				c.t.Fatalf("the process ended before %q", prefix)
			}
			if strings.HasPrefix(l, "failed") {
				c.t.Fatal(l)
			}
			if strings.HasPrefix(l, prefix) {
				return l
			}
		case <-limit:
			c.t.Fatalf("no %q", prefix)
		}
	}
}

// read is how many messages the subscriber says it has, next time it says so.
func (c *child) read() int {
	c.t.Helper()
	for len(c.lines) > 0 {
		<-c.lines
	}
	n, err := strconv.Atoi(strings.TrimPrefix(c.until("read "), "read "))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func TestKilledPublisherReleasesItsLaneAndLeavesWholeMessages(t *testing.T) {
	n := newNode(t)
	s := n.subscriber("orders", "subscriber")
	defer s.Close()
	for range 5 {
		p := start(t, "publisher", n.b.Path(), "orders", "publisher")
		next := uint64(0)
		var ended *reason.Error
		h := channel.Handler{Message: func(_ *channel.Source, _ uint16, b []byte) {
			if len(b) != 8 || binary.LittleEndian.Uint64(b) != next {
				t.Fatalf("% x where %d was next", b, next)
			}
			next++
		}, Ended: func(_ *channel.Source, why *reason.Error) { ended = why }}
		for next < 2000 {
			s.Poll(100, &h)
		}
		p.signal(syscall.SIGKILL)
		killed := time.Now()
		eventually(t, "the lane ends", func() bool { s.Poll(1000, &h); return ended != nil })
		t.Logf("%d messages; the reader knew %v after the kill", next, time.Since(killed))
		if ended.Code != reason.WriterDied {
			t.Error(ended)
		}
		if rings := n.rings(); len(rings) != 0 {
			t.Errorf("%d rings are left", len(rings))
		}
	}
	if d := n.events(Died); len(d) != 5 || d[0].Service != "publisher" || d[0].PID == 0 {
		t.Errorf("%+v", d)
	}
}

func TestKilledOrStoppedReaderStallsNoBroadcastAndOnlyItsLane(t *testing.T) {
	n := newNode(t)
	md, p := n.publisher("md", "publisher"), n.publisher("orders", "publisher")
	defer md.Close()
	defer p.Close()
	stopped := start(t, "subscriber", n.b.Path(), "md", "subscriber")
	eventually(t, "it reads", func() bool { return len(n.events(Paired)) == 1 })
	stopped.signal(syscall.SIGSTOP)
	for range 100_000 { // many laps
		if md.Offer(1, make([]byte, 48)) != shm.Sent {
			t.Fatal("a broadcast waits")
		}
	}
	stopped.signal(syscall.SIGCONT)
	stopped.signal(syscall.SIGKILL)
	c := n.floor["orders"]
	c.Keep = policy.Duration(100 * time.Millisecond)
	n.floor["orders"] = c
	n.apply()
	killed := start(t, "subscriber", n.b.Path(), "orders", "subscriber")
	eventually(t, "it reads", func() bool { return len(n.events(Paired)) == 2 })
	killed.signal(syscall.SIGKILL)
	eventually(t, "the lane is full, and no more", func() bool { return p.Offer(1, make([]byte, 1000)) == shm.Full })
	next := n.subscriber("orders", "other")
	defer next.Close()
	h := channel.Handler{}
	eventually(t, "what the dead reader held is given up", func() bool { next.Poll(1000, &h); return p.Offer(1, []byte("x")) == shm.Sent })
}

func TestRingsGoOnWhileTheDirectNodeIsStoppedOrKilledAndAreAdoptedAfterwards(t *testing.T) {
	socket := t.TempDir() + "/attach"
	b := start(t, "broker", socket, "", "")
	start(t, "publisher", socket, "orders", "publisher")
	s := start(t, "subscriber", socket, "orders", "subscriber")
	s.read()
	b.signal(syscall.SIGSTOP)
	if from := s.read(); s.read() <= from {
		t.Error("nothing moves while the direct node is stopped")
	}
	b.signal(syscall.SIGCONT)
	b.signal(syscall.SIGKILL)
	_ = b.cmd.Wait()
	if from := s.read(); s.read() <= from {
		t.Error("nothing moves while there is no direct node")
	}
	next := start(t, "broker", socket, "", "")
	next.until("event adopted")
	// It governs again: what is killed is seen, and what is forbidden is cut.
	if from := s.read(); s.read() <= from {
		t.Error("nothing moves after the adoption")
	}
	time.Sleep(700 * time.Millisecond) // beyond the grace: the reader must not be forgotten
	if from := s.read(); s.read() <= from {
		t.Error("nothing moves after the grace")
	}
	next.kill()
	denies := start(t, "broker", socket, "", "", "FIRE_TEST_DENY=1")
	denies.until("event refused")
	s.until("ended")
}

// rate is how many messages a second the subscriber reads, over half a second.
func (c *child) rate() float64 {
	c.t.Helper()
	from, begun := c.read(), time.Now()
	time.Sleep(500 * time.Millisecond)
	return float64(c.read()-from) / time.Since(begun).Seconds()
}

// The direct node is not on the path: rings are as fast while it is stopped. It follows them
// for the audit, which takes a share of a machine that has no core to spare, so the rounds
// with it may be slower; those without may not.
func TestRingsAreAsFastWhileTheDirectNodeIsStopped(t *testing.T) {
	socket := t.TempDir() + "/attach"
	b := start(t, "broker", socket, "", "")
	start(t, "publisher", socket, "orders", "publisher")
	s := start(t, "subscriber", socket, "orders", "subscriber")
	var with, without float64
	for round := 0; round < 3 || without < with/2 && round < 10; round++ { // more where others take the cores
		with = max(with, s.rate())
		b.signal(syscall.SIGSTOP)
		without = max(without, s.rate())
		b.signal(syscall.SIGCONT)
	}
	t.Logf("%.0f messages/s with the direct node, %.0f while it is stopped: %.2f times", with, without, without/with)
	if without < with/2 {
		t.Errorf("%.0f messages/s while the direct node is stopped, %.0f with it", without, with)
	}
}

func TestWantOfDescriptorsEndsNobodyWhoIsAttached(t *testing.T) {
	socket := t.TempDir() + "/attach"
	start(t, "broker", socket, "", "", "FIRE_TEST_FILES=48")
	start(t, "publisher", socket, "orders", "publisher")
	s := start(t, "subscriber", socket, "orders", "subscriber")
	s.read() // it has its lane, which wants descriptors as well
	var silent []net.Conn
	for range 100 {
		c, err := net.DialTimeout("unixpacket", socket, time.Second)
		if err != nil {
			break
		}
		silent = append(silent, c)
	}
	if from := s.read(); s.read() <= from {
		t.Error("nothing moves")
	}
	for _, c := range silent {
		c.Close()
	}
	o := channel.Options{Socket: socket, Channel: "md", Service: "publisher"}
	eventually(t, "others attach again", func() bool {
		p, err := channel.OpenPublisher(t.Context(), o)
		if err == nil {
			err = p.Close()
		}
		return err == nil
	})
}

func TestTwoDirectNodesDoNotShareASocket(t *testing.T) {
	n := newNode(t)
	cfg := Default()
	cfg.Socket = n.b.Path()
	if b, err := New(cfg, Deps{Log: quiet(), Record: n.record}); err == nil || !strings.Contains(err.Error(), "another direct node") {
		t.Errorf("%v, %v", b, err)
	}
}

// TestProgramThatComesBeforeTheCatalogueIsNotRefused is what happens to all that come back
// when a direct node starts anew: its socket answers before it knows the floor.
func TestProgramThatComesBeforeTheCatalogueIsNotRefused(t *testing.T) {
	n := &node{t: t, floor: map[string]policy.Channel{"orders": chan0(policy.Orders)}}
	cfg := Default()
	cfg.Socket = t.TempDir() + "/attach"
	n.start(cfg)
	attached := make(chan error, 1)
	go func() {
		p, err := channel.OpenPublisher(t.Context(), n.options("orders", "publisher"))
		if err == nil {
			err = p.Close()
		}
		attached <- err
	}()
	select {
	case err := <-attached:
		t.Fatalf("decided without a catalogue: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	n.apply()
	if err := <-attached; err != nil {
		t.Error(err)
	}
}
