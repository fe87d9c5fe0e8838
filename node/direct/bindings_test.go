package direct

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

const bindingsFolder = "../../transport/shm/bindings"

// bindings builds the examples of all languages that are here, once for a test.
type bindings struct {
	folder string
	have   []string // languages
}

func newBindings(t *testing.T) *bindings {
	t.Helper()
	if testing.Short() {
		t.Skip("it calls compilers")
	}
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("cc is not here")
	}
	// What is read here makes a cached test result end when a source changes.
	err := filepath.WalkDir(bindingsFolder, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			_, err = os.ReadFile(p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return &bindings{t.TempDir(), []string{"c"}}
}

func (b *bindings) build(t *testing.T, arguments ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(bindingsFolder, "build"), append([]string{b.folder}, arguments...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// others adds the languages that are here beside C.
func (b *bindings) others(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err == nil {
		b.build(t, "library")
		b.have = append(b.have, "python")
	} else {
		t.Log("python3 is not here: not tested")
	}
	if out, err := exec.CommandContext(t.Context(), "java", "--list-modules").Output(); err == nil && strings.Contains(string(out), "jdk.incubator.foreign@17") {
		b.build(t, "java")
		b.have = append(b.have, "java")
	} else {
		t.Log("JDK 17 is not here: not tested")
	}
}

// example starts publisher or subscriber of a language.
func (b *bindings) example(t *testing.T, language, program string, flags ...string) *child {
	t.Helper()
	switch language {
	case "python":
		flags = append([]string{"python3", "-B", filepath.Join(bindingsFolder, "python", program+".py"), "--library", filepath.Join(b.folder, "libfire_ring.so")}, flags...)
	case "java":
		class := "fire." + strings.ToUpper(program[:1]) + program[1:]
		flags = append([]string{"java", "-XX:TieredStopAtLevel=1", "--add-modules", "jdk.incubator.foreign", "--enable-native-access=ALL-UNNAMED",
			"-cp", filepath.Join(b.folder, "java"), class}, flags...)
	default:
		flags = append([]string{filepath.Join(b.folder, program)}, flags...)
	}
	return launch(t, flags...)
}

// launch starts another program, whose lines are read like a child's.
func launch(t *testing.T, argv ...string) *child {
	t.Helper()
	c := &child{t: t, lines: make(chan string, 1<<16)}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	c.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		in := bufio.NewScanner(out)
		for in.Scan() {
			c.lines <- in.Text()
		}
		io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() { c.kill(); cancel() })
	return c
}

// event is a line of an example.
type event struct {
	Event    string
	Service  string
	Reason   int
	State    int
	Messages int
	Lost     int
	Wrong    int
	Losses   int
	Answers  int
	Text     string
}

// event waits for a line of that kind.
func (c *child) event(kind string) (e event) {
	c.t.Helper()
	line := c.until(`{"event": "` + kind)
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
	return e
}

func (n *node) flags(name, service string, more ...string) []string {
	return append([]string{"--socket", n.b.Path(), "--channel", name, "--service", service}, more...)
}

// TestBindings runs the examples of all languages against a direct node.
func TestBindings(t *testing.T) {
	b := newBindings(t)
	b.build(t, "c", "publisher", "subscriber", "echo")
	b.others(t)
	t.Run("talk with Go and C over channels", b.talk)
	t.Run("are told why not", b.areToldWhyNot)
	t.Run("outlive the direct node", b.outliveTheDirectNode)
	t.Run("ring doorbells", b.ringDoorbells)
	t.Run("refuse to ring what could block", b.refuseToRingWhatCouldBlock)
	t.Run("forget a reader that does not come back", b.forget)
	t.Run("hear what was lost on the way from another host", b.hearWhatWasLostOnTheWay)
	t.Run("serve calls", b.serveCalls)
	t.Run("survive a hostile direct node", b.surviveAHostileDirectNode)
}

// talk lets each language publish for Go and for C, and read from Go.
func (b *bindings) talk(t *testing.T) {
	const count = 5000
	counted := []string{"--count", strconv.Itoa(count)}
	for _, language := range b.have {
		for _, name := range []string{"orders", "md"} {
			t.Run(language+" "+name, func(t *testing.T) {
				n := newNode(t)
				c := b.example(t, "c", "subscriber", n.flags(name, "subscriber", counted...)...)
				c.event("attached")
				g := n.subscriber(name, "other")
				defer g.Close()
				p := b.example(t, language, "publisher", n.flags(name, "publisher", append(counted, "--readers", "2")...)...)
				got, lost, wrong := readNumbers(t, g, count)
				if got+lost != count || wrong != 0 || name == "orders" && lost != 0 {
					t.Errorf("Go read %d, lost %d, wrong %d of %d", got, lost, wrong, count)
				}
				if d := c.event("done"); d.Messages+d.Lost != count || d.Wrong != 0 || name == "orders" && d.Lost != 0 {
					t.Errorf("C read %+v of %d", d, count)
				}
				if d := p.event("done"); d.Messages != count {
					t.Errorf("published %+v", d)
				}

				s := b.example(t, language, "subscriber", n.flags(name, "subscriber", counted...)...)
				s.event("attached")
				w := n.publisher(name, "publisher")
				defer w.Close()
				eventually(t, "it reads", func() bool { return len(w.Readers()) == 2 })
				for k := uint64(0); k < count; {
					if w.Offer(1, binary.LittleEndian.AppendUint64(nil, k)) == shm.Sent {
						k++
					} else {
						g.Poll(1000, &channel.Handler{})
					}
				}
				if d := s.event("done"); d.Messages+d.Lost < count || d.Wrong != 0 || name == "orders" && d.Lost != 0 {
					t.Errorf("%s read %+v of %d", language, d, count)
				}
			})
		}
	}
}

// readNumbers reads messages that carry their number, until count have come or are lost.
func readNumbers(t *testing.T, s *channel.Subscriber, count int) (got, lost, wrong int) {
	next := uint64(0)
	h := channel.Handler{Message: func(_ *channel.Source, _ uint16, b []byte) {
		if len(b) < 8 || binary.LittleEndian.Uint64(b) != next {
			wrong++
		}
		next++
		got++
	}, Gap: func(_ *channel.Source, first, last uint64) {
		lost += int(last - first + 1)
		next = last + 1
	}}
	eventually(t, "all is read", func() bool { s.Poll(1000, &h); return got+lost >= count })
	return got, lost, wrong
}

func (b *bindings) areToldWhyNot(t *testing.T) {
	n := newNode(t)
	for _, language := range b.have {
		t.Run(language, func(t *testing.T) {
			for _, c := range []struct {
				program, channel, service string
				want                      reason.Code
			}{{"publisher", "nothing", "publisher", reason.NoSuchChannel}, {"subscriber", "orders", "stranger", reason.DeniedByDefault},
				{"publisher", "orders", "", reason.ProgramUnknown}} {
				e := b.example(t, language, c.program, n.flags(c.channel, c.service)...).event("refused")
				if reason.Code(e.Reason) != c.want || e.Text == "" {
					t.Errorf("%s of %s as %q: %+v", c.program, c.channel, c.service, e)
				}
			}
			p, s := b.example(t, language, "publisher", n.flags("orders", "publisher")...), b.example(t, language, "subscriber", n.flags("orders", "subscriber")...)
			p.event("attached")
			s.event("attached")
			n.b.Revoke(t.Context(), Revocation{Channel: "orders", By: "operator"})
			if e := p.event("shut"); e.State != int(shm.Revoked) || reason.Code(e.Reason) != reason.ChannelRevoked {
				t.Errorf("the publisher says %+v", e)
			}
			if e := s.event("refused"); reason.Code(e.Reason) != reason.ChannelRevoked || e.Text == "" {
				t.Errorf("the subscriber says %+v", e)
			}
			if err := n.b.Restore(t.Context(), "orders", "", "operator"); err != nil {
				t.Fatal(err)
			}
		})
	}
	if e := b.example(t, "c", "publisher", "--socket", t.TempDir()+"/none", "--channel", "orders").event("failed"); !strings.Contains(e.Text, "no direct node") {
		t.Errorf("%+v", e)
	}
}

// ringDoorbells has a reader in another process sleep in its poll loop between messages.
func (b *bindings) ringDoorbells(t *testing.T) {
	for _, language := range b.have {
		t.Run(language, func(t *testing.T) {
			n := newNode(t)
			s := start(t, "poller", n.b.Path(), "orders", "subscriber")
			// It goes on until it is killed: its end would wake the reader, too.
			b.example(t, language, "publisher", n.flags("orders", "publisher", "--readers", "1", "--rate", "200")...)
			for range 20 {
				s.until("message publisher")
			}
		})
	}
}

// refuseToRingWhatCouldBlock has a direct node that hands on what it should have refused: the
// writer ends the talk. The same with a doorbell is answered.
func (b *bindings) refuseToRingWhatCouldBlock(t *testing.T) {
	for _, language := range b.have {
		t.Run(language, func(t *testing.T) {
			socket := t.TempDir() + "/attach"
			ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			ln.SetDeadline(time.Now().Add(20 * time.Second))
			event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			wrong := os.NewFile(uintptr(event), "event")
			defer wrong.Close()
			d, err := shm.NewDoorbell()
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			b.example(t, language, "publisher", "--socket", socket, "--channel", "orders", "--readers", "9")
			if k, err := introduced(t, ln, 100, d.Button()); err != nil || k.Type != channel.TypeAdded {
				t.Errorf("a doorbell: %+v, %v", k, err)
			}
			if k, err := introduced(t, ln, 200, wrong); err == nil || os.IsTimeout(err) {
				t.Errorf("an eventfd: %+v, %v", k, err)
			}
		})
	}
}

// introduced is what the next publisher that attaches says to a reader with that button.
func introduced(t *testing.T, ln *net.UnixListener, lane uint64, button *os.File) (channel.Packet, error) {
	c, err := ln.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	w := channel.NewWire(c)
	defer w.Close()
	w.SetReceiveDeadline(time.Now().Add(10 * time.Second))
	spec := shm.Spec{Name: "orders", Discipline: shm.Lane, Lines: 64, Epoch: uint64(time.Now().UnixNano())}
	data, err := shm.CreateData(spec)
	if err != nil {
		t.Fatal(err)
	}
	cursor, err := shm.CreateCursor(spec.Name, spec.Epoch, 0)
	if err != nil {
		t.Fatal(err)
	}
	gate, err := shm.CreateGate(spec.Name, spec.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { data.Close(); cursor.Close(); gate.Close() }()
	w.Send(&channel.Packet{Type: channel.TypeWelcome, Kind: 1, Wait: 4, Service: "x"})
	w.Send(&channel.Packet{Type: channel.TypeLane, ID: lane, Epoch: spec.Epoch, Way: channel.Write}, data, gate.File())
	for {
		k, files, err := w.Receive()
		channel.CloseAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if k.Type == channel.TypeMapped && k.ID == lane {
			break
		}
	}
	shm.Seal(data)
	shm.Seal(cursor)
	w.Send(&channel.Packet{Type: channel.TypeReader, ID: lane + 1, Lane: lane, Service: "r"}, cursor, button)
	k, files, err := w.Receive()
	channel.CloseAll(files)
	return k, err
}

// outliveTheDirectNode kills it twice under a publisher and a subscriber of
// each language: the next one adopts both, and no message is lost or seen twice.
func (b *bindings) outliveTheDirectNode(t *testing.T) {
	for _, language := range b.have {
		t.Run(language, func(t *testing.T) {
			t.Parallel() // it mostly waits
			socket := t.TempDir() + "/attach"
			direct := start(t, "broker", socket, "", "")
			p := b.example(t, language, "publisher", "--socket", socket, "--channel", "orders", "--service", "publisher")
			s := b.example(t, language, "subscriber", "--socket", socket, "--channel", "orders", "--service", "subscriber")
			direct.until("event paired")
			for range 2 {
				direct.kill()
				direct = start(t, "broker", socket, "", "")
				for missing := map[string]bool{"event adopted publisher": true, "event attached subscriber": true}; len(missing) > 0; {
					delete(missing, direct.until("event "))
				}
			}
			time.Sleep(700 * time.Millisecond) // beyond the grace: the reader must not be forgotten
			direct.kill()
			denies := start(t, "broker", socket, "", "", "FIRE_TEST_DENY=1")
			denies.until("event refused")
			if e := p.event("shut"); e.State != int(shm.Revoked) || reason.Code(e.Reason) != reason.NoSuchChannel {
				t.Errorf("the publisher says %+v", e)
			}
			if e := s.event("refused"); reason.Code(e.Reason) != reason.NoSuchChannel {
				t.Errorf("the subscriber says %+v", e)
			}
			sent, got := p.event("done"), s.event("done")
			if got.Wrong != 0 || got.Lost != 0 || got.Messages == 0 || got.Messages > sent.Messages || sent.Messages-got.Messages > 2000 {
				t.Errorf("%d were sent; read %+v", sent.Messages, got)
			}
		})
	}
}

// forget lets a reader die while there is no direct node: the writer must not wait for it
// when the next one has waited in vain.
func (b *bindings) forget(t *testing.T) {
	for _, language := range b.have {
		t.Run(language, func(t *testing.T) {
			t.Parallel() // it mostly waits
			socket := t.TempDir() + "/attach"
			direct := start(t, "broker", socket, "", "")
			b.example(t, language, "publisher", "--socket", socket, "--channel", "orders", "--service", "publisher")
			dies := b.example(t, "c", "subscriber", "--socket", socket, "--channel", "orders", "--service", "subscriber")
			s, err := channel.OpenSubscriber(t.Context(), channel.Options{Socket: socket, Channel: "orders", Service: "other"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			read := 0
			h := channel.Handler{Message: func(*channel.Source, uint16, []byte) { read++ }}
			eventually(t, "it reads", func() bool { s.Poll(1000, &h); return read > 0 })
			for paired := 0; paired < 2; paired++ {
				direct.until("event paired")
			}
			direct.kill()
			dies.kill()
			direct = start(t, "broker", socket, "", "")
			direct.until("event adopted")
			from := read
			eventually(t, "the writer goes on without it", func() bool { s.Poll(1000, &h); return read > from+50_000 })
		})
	}
}

// serveCalls lets a server in C answer each of two callers.
func (b *bindings) serveCalls(t *testing.T) {
	n := newNode(t)
	e := b.example(t, "c", "echo", n.flags("ask", "subscriber")...)
	e.event("attached")
	for _, service := range []string{"publisher", "second"} {
		c, err := channel.OpenCaller(t.Context(), n.options("ask", service))
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for k := range 500 {
			want = append(want, fmt.Sprintf("call %d of %s", k, service))
			if res := p.Offer(6, []byte(want[k])); res != shm.Sent {
				t.Fatal(res)
			}
			eventually(t, "it answers", func() bool {
				_, err := p.Poll(1, func(typ uint16, b []byte) {
					if typ != 7 {
						t.Errorf("an answer of type %d", typ)
					}
					got = append(got, string(b))
				})
				return err != nil || len(got) > k
			})
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s got %q", service, got)
		}
		p.Close()
		c.Close()
		if end := e.event("ended"); end.Service != service {
			t.Errorf("%+v", end)
		}
	}
	e.signal(syscall.SIGTERM)
	if d := e.event("done"); d.Answers != 1000 {
		t.Errorf("%+v", d)
	}
}

// surviveAHostileDirectNode lets something that is no direct node say what it likes
// to a program that ends at its first wrong access.
func (b *bindings) surviveAHostileDirectNode(t *testing.T) {
	b.build(t, "sanitized", "publisher", "subscriber")
	for side, program := range map[uint8]string{1: "publisher", 2: "subscriber"} {
		t.Run(program, func(t *testing.T) {
			socket := t.TempDir() + "/attach"
			ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			p := b.example(t, "c", program+"-sanitized", "--socket", socket, "--channel", "orders")
			rng := rand.New(rand.NewPCG(uint64(side), 5))
			for talks := range 60 {
				ln.SetDeadline(time.Now().Add(10 * time.Second))
				c, err := ln.AcceptUnix()
				if err != nil {
					t.Fatal(err) // it has ended
				}
				lie(t, channel.NewWire(c), rng, side, talks == 0)
				c.Close()
			}
			p.event("attached")
			p.signal(syscall.SIGTERM)
			if d := p.event("done"); d.Losses < 10 { // one that breaks while it is asked counts as none
				t.Errorf("%+v", d)
			}
		})
	}
}

// lie is one talk with a program: first honest, then with spoiled packets and wrong memory.
func lie(t *testing.T, w *channel.Wire, rng *rand.Rand, side uint8, honest bool) {
	spec := shm.Spec{Name: "orders", Discipline: shm.Lane, Lines: 64, Epoch: 3}
	data, err := shm.CreateData(spec)
	if err != nil {
		t.Fatal(err)
	}
	cursor, _ := shm.CreateCursor(spec.Name, spec.Epoch, 0)
	gate, err := shm.CreateGate(spec.Name, spec.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { data.Close(); cursor.Close(); gate.Close() }()
	w.SetReceiveDeadline(time.Now().Add(5 * time.Second))
	if _, files, err := w.Receive(); err != nil {
		t.Fatal(err)
	} else {
		channel.CloseAll(files)
	}
	lane := channel.Packet{Type: channel.TypeLane, ID: 1, Epoch: spec.Epoch, Way: channel.Way(side)}
	files := []*os.File{data, gate.File()}
	if side == 2 {
		shm.Seal(data)
		files = []*os.File{data, cursor, gate.File()}
	}
	if err := w.Send(&channel.Packet{Type: channel.TypeWelcome, Kind: 1, Wait: 3, Service: "x"}); err != nil {
		return
	}
	if err := w.Send(&lane, files...); err != nil {
		return
	}
	if honest { // the program is attached when it has mapped
		w.Receive()
		return
	}
	packets := []channel.Packet{lane, {Type: channel.TypeReader, ID: 2, Lane: 1, Service: "r"}, {Type: channel.TypeStart, ID: 1}, {Type: channel.TypeGone, ID: 2},
		{Type: channel.TypeAdopted, ID: 1, Link: 5}, {Type: channel.TypeSettled, ID: 5}, {Type: channel.TypeWelcome, Kind: 2, Wait: 1}}
	for range 1 + rng.IntN(8) {
		b, _ := packets[rng.IntN(len(packets))].Append(nil)
		switch rng.IntN(3) {
		case 0:
			b[rng.IntN(len(b))] ^= byte(1 << rng.IntN(8))
		case 1:
			b = append(b[:rng.IntN(len(b)+1)], make([]byte, rng.IntN(1100))...)
		}
		if len(b) > 1 && b[0] == byte(channel.TypeRefused) {
			continue // would be believed, and end it
		}
		var fds []int
		for range rng.IntN(5) {
			fds = append(fds, int([]*os.File{data, cursor, gate.File()}[rng.IntN(3)].Fd()))
		}
		if _, _, err := w.Conn().WriteMsgUnix(b, syscall.UnixRights(fds...), nil); err != nil {
			return
		}
	}
}
