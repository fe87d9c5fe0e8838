package direct

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

// raw is a connection that says what it likes.
func (n *node) raw() *channel.Wire {
	n.t.Helper()
	w, err := channel.Dial(n.t.Context(), n.b.Path())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { w.Close() })
	if err := w.SetReceiveDeadline(time.Now().Add(10 * time.Second)); err != nil {
		n.t.Fatal(err)
	}
	return w
}

func TestOtherLayoutAndOtherProtocolAreRefusedByName(t *testing.T) {
	n := newNode(t)
	w := n.raw()
	if err := w.Send(&channel.Packet{Type: channel.TypeAttach, Hash: shm.Hash() + 1, Side: 1, Channel: "orders", Service: "publisher"}); err != nil {
		t.Fatal(err)
	}
	if k, _, err := w.Receive(); err != nil || k.Type != channel.TypeRefused || k.Reason != reason.LayoutMismatch {
		t.Errorf("%+v, %v", k, err)
	}
	w = n.raw()
	b, _ := (&channel.Packet{Type: channel.TypeAttach, Hash: shm.Hash(), Side: 1, Channel: "orders"}).Append(nil)
	b[2] = 9
	if _, err := w.Conn().Write(b); err != nil {
		t.Fatal(err)
	}
	if k, _, err := w.Receive(); err != nil || k.Type != channel.TypeRefused || k.Reason != reason.FrameVersion {
		t.Errorf("%+v, %v", k, err)
	}
}

func TestWhoBreaksTheProtocolLosesItsEndAndNothingElse(t *testing.T) {
	n := newNode(t)
	p, s := n.publisher("orders", "publisher"), n.subscriber("orders", "subscriber")
	defer p.Close()
	defer s.Close()
	hello := channel.Packet{Type: channel.TypeAttach, Hash: shm.Hash(), Side: uint8(policy.Publish), Channel: "orders", Service: "second"}
	for name, after := range map[string][]channel.Packet{
		"a second attach":              {hello},
		"an answer that is no program": {{Type: channel.TypeWelcome}},
		"a lane that is not its own":   {{Type: channel.TypeMapped, ID: 1}, {Type: channel.TypeAdded, ID: 1, Position: 1 << 60}, {Type: channel.TypeMapped, ID: 1 << 62}, {Type: channel.TypeHeld}},
	} {
		w := n.raw()
		if err := w.Send(&hello); err != nil {
			t.Fatal(err)
		}
		for i := range after {
			_ = w.Send(&after[i])
		}
		for {
			_, files, err := w.Receive()
			channel.CloseAll(files)
			if err != nil {
				if os.IsTimeout(err) {
					t.Errorf("%s: it may stay", name)
				}
				break
			}
		}
	}
	garbage := n.raw()
	garbage.Conn().Write([]byte(strings.Repeat("x", 500)))
	if k, _, err := garbage.Receive(); err == nil && k.Type != channel.TypeRefused || os.IsTimeout(err) {
		t.Errorf("garbage: %+v, %v", k, err)
	}
	p.Offer(1, []byte("x"))
	if got := collect(t, s, 1); got[0] != "publisher:x" {
		t.Error(got)
	}
	eventually(t, "one ring is left", func() bool { return len(n.rings()) == 1 })
}

// A descriptor flood, foreign memory and memory that is not sealed adopt nothing and leak
// nothing.
func TestHeldMemoryThatIsNoRingIsRefused(t *testing.T) {
	n := newNode(t)
	before := openFiles(t)
	foreign, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	unsealed, err := shm.CreateData(shm.Spec{Name: "orders", Discipline: shm.Lane, Lines: 64, Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer unsealed.Close()
	other, err := shm.CreateData(shm.Spec{Name: "other", Discipline: shm.Lane, Lines: 64, Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := shm.Seal(other); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		side  policy.Side
		as    string
		files []*os.File
	}{
		{policy.Publish, "publisher", []*os.File{foreign}},
		{policy.Publish, "publisher", []*os.File{unsealed}},
		{policy.Publish, "publisher", []*os.File{other}},
		{policy.Publish, "publisher", []*os.File{other, other}},
		{policy.Publish, "publisher", nil},
		{policy.Subscribe, "subscriber", []*os.File{other, other}},
		{policy.Subscribe, "subscriber", []*os.File{unsealed, foreign}},
	} {
		w := n.raw()
		if err := w.Send(&channel.Packet{Type: channel.TypeAttach, Hash: shm.Hash(), Side: uint8(c.side), Held: 1, Channel: "orders", Service: c.as}); err != nil {
			t.Fatal(err)
		}
		if err := w.Send(&channel.Packet{Type: channel.TypeHeld, ID: 7}, c.files...); err != nil {
			t.Fatal(err)
		}
		var last channel.Packet
		for {
			k, files, err := w.Receive()
			channel.CloseAll(files)
			if err != nil {
				break
			}
			last = k
		}
		if last.Type != channel.TypeRefused || last.Reason != reason.RingUnavailable {
			t.Errorf("%v: %+v", c, last)
		}
		w.Close()
	}
	eventually(t, "nothing stays open", func() bool { return openFiles(t) <= before+3 }) // the three of this test
	if rings := n.rings(); len(rings) != 0 {
		t.Errorf("%+v", rings)
	}
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestSilentConnectionsAreBoundedAndEnd(t *testing.T) {
	n := newNode(t)
	var all []net.Conn
	for range arrivalsMax + 50 {
		c, err := net.Dial("unixpacket", n.b.Path())
		if err != nil {
			break // the listener's own queue is full
		}
		all = append(all, c)
	}
	defer func() {
		for _, c := range all {
			c.Close()
		}
	}()
	eventually(t, "who is above the limit is hung up on", func() bool {
		ended := 0
		for _, c := range all {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); err != nil && !os.IsTimeout(err) {
				ended++
			}
		}
		return ended == len(all) // the others after askWithin
	})
	n.publisher("orders", "publisher").Close()
}

func TestLimitsOfEndsAndMemoryAreSaid(t *testing.T) {
	n := newNode(t)
	n.stop()
	cfg := Default()
	cfg.Socket, cfg.EndsPerProgramMax, cfg.MemoryMax = filepath.Join(t.TempDir(), "attach"), 2, 150<<10 // one ring takes 68 KiB
	n.start(cfg)
	n.apply()
	a, b := n.publisher("orders", "publisher"), n.publisher("md", "publisher")
	defer a.Close()
	if _, err := channel.OpenPublisher(t.Context(), n.options("orders", "second")); reason.Of(err, 0) != reason.ChannelBusy {
		t.Error(err)
	}
	b.Close()
	c := n.floor["md"]
	c.Size = 1 << 20
	n.floor["md"] = c
	n.apply()
	if _, err := channel.OpenPublisher(t.Context(), n.options("md", "publisher")); reason.Of(err, 0) != reason.RingUnavailable || !strings.Contains(err.Error(), "memory_max") {
		t.Error(err)
	}
	if a.Offer(1, []byte("x")) != shm.Sent {
		t.Error("an end that was there suffers")
	}
}

func TestNoDirectNodeIsSaidAtOnce(t *testing.T) {
	o := channel.Options{Socket: filepath.Join(t.TempDir(), "attach"), Channel: "orders"}
	if _, err := channel.OpenPublisher(t.Context(), o); reason.Of(err, 0) != reason.DirectUnreachable {
		t.Error(err)
	}
	if _, err := channel.OpenSubscriber(t.Context(), channel.Options{Socket: o.Socket}); err == nil || !strings.Contains(err.Error(), "no name") {
		t.Error(err)
	}
}

// A writer that scribbles over its own ring, which it may, ends its own lane at the reader
// and harms neither reader nor direct node.
func TestCorruptRingEndsOnlyItself(t *testing.T) {
	n := newNode(t)
	s := n.subscriber("orders", "subscriber")
	defer s.Close()
	w := n.raw()
	if err := w.Send(&channel.Packet{Type: channel.TypeAttach, Hash: shm.Hash(), Side: uint8(policy.Publish), Channel: "orders", Service: "publisher"}); err != nil {
		t.Fatal(err)
	}
	var memory []byte
	for memory == nil {
		k, files, err := w.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if k.Type == channel.TypeLane {
			if memory, err = unix.Mmap(int(files[0].Fd()), 0, 4096+64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
				t.Fatal(err)
			}
			defer unix.Munmap(memory)
			if err := w.Send(&channel.Packet{Type: channel.TypeMapped, ID: k.ID}); err != nil {
				t.Fatal(err)
			}
		}
		channel.CloseAll(files)
	}
	for { // until the reader is there
		k, files, err := w.Receive()
		channel.CloseAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if k.Type == channel.TypeReader {
			if err := w.Send(&channel.Packet{Type: channel.TypeAdded, ID: k.ID}); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	key := binary.LittleEndian.Uint64(memory[32:])
	binary.LittleEndian.PutUint32(memory[4096+8:], 1<<31) // a length that no message has
	binary.LittleEndian.PutUint64(memory[4096:], key+1)   // published
	var ended *reason.Error
	h := channel.Handler{Message: func(*channel.Source, uint16, []byte) { t.Error("a message") }, Ended: func(_ *channel.Source, why *reason.Error) { ended = why }}
	eventually(t, "the lane ends", func() bool { s.Poll(9, &h); return ended != nil })
	if ended.Code != reason.RingCorrupt {
		t.Error(ended)
	}
	p := n.publisher("orders", "second")
	defer p.Close()
	p.Offer(1, []byte("fine"))
	if got := collect(t, s, 1); got[0] != "second:fine" {
		t.Error(got)
	}
}

func TestDigestsCoverEveryMessageAndGapsAreExact(t *testing.T) {
	n := newNode(t)
	p := n.publisher("md", "publisher")
	var records [][]byte
	const messages = 5000
	for k := range uint64(messages) {
		text := fmt.Sprint("message ", k)
		for p.Offer(3, []byte(text)) != shm.Sent {
		}
		b := binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint64(nil, k), 3)
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(text))), text...)
		records = append(records, b)
		if k%200 == 199 { // leave the tail time: nobody waits for it
			eventually(t, "the audit has seen them", func() bool { return n.rings()[0].Digested == k+1 })
		}
	}
	p.Close()
	var covered uint64
	var last string
	var spans []int // messages of each chain
	eventually(t, "all are in the trail", func() bool {
		covered, last, spans = 0, "", nil
		for _, e := range n.events(Digest) {
			if e.First != covered || e.Messages != e.Last-e.First+1 || e.Service != "publisher" {
				t.Fatalf("%+v after %d", e, covered)
			}
			covered, last = e.Last+1, e.Chain
			spans = append(spans, int(e.Messages))
		}
		return covered == messages
	})
	chain := [sha256.Size]byte{}
	for _, n := range spans {
		b := chain[:]
		for _, r := range records[:n] {
			b = append(b, r...)
		}
		chain, records = sha256.Sum256(b), records[n:]
	}
	if last != hex.EncodeToString(chain[:]) {
		t.Error("the chain in the trail is not that of the messages")
	}
	if gaps := n.events(Unseen); len(gaps) != 0 {
		t.Errorf("%+v", gaps)
	}
}

func TestAuditModesAndGaps(t *testing.T) {
	n := newNode(t)
	c := n.floor["md"]
	c.Audit = policy.AuditSample
	n.floor["md"] = c
	n.apply()
	p := n.publisher("md", "publisher")
	defer p.Close()
	for k := range 4096 {
		p.Offer(1, []byte("x"))
		if k%256 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	eventually(t, "samples are digested", func() bool { r := n.rings()[0]; return r.Digested+r.Unseen > 0 && r.AuditLag == 0 })
	if r := n.rings()[0]; r.Digested > 4 {
		t.Errorf("%d digested of 4096 at one in %d", r.Digested, sampleEvery)
	}
	c.Audit = policy.AuditOff
	n.floor["md"] = c
	n.apply()
	was := n.rings()[0].Digested
	for range 3000 {
		p.Offer(1, []byte("x"))
	}
	eventually(t, "the tail is at the end", func() bool { return n.rings()[0].AuditLag == 0 })
	if r := n.rings()[0]; r.Digested != was {
		t.Errorf("%d digested while the audit is off", r.Digested-was)
	}
}

func TestCutsOutliveTheDirectNode(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	n.stop()
	cfg := Default()
	cfg.Socket = filepath.Join(t.TempDir(), "attach")
	again := func() {
		b, err := New(cfg, Deps{Dir: dir, Programs: programs(t, "publisher"), Record: n.record, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		n.b, n.cancel, n.done = b, cancel, make(chan error, 1)
		go func() { n.done <- b.Run(ctx) }()
		n.apply()
	}
	again()
	if _, err := n.b.Revoke(t.Context(), Revocation{Channel: "orders", Service: "publisher", By: "operator"}); err != nil {
		t.Fatal(err)
	}
	n.stop()
	again()
	if _, err := channel.OpenPublisher(t.Context(), n.options("orders", "publisher")); reason.Of(err, 0) != reason.ChannelRevoked {
		t.Error(err)
	}
	if err := n.b.Restore(t.Context(), "orders", "publisher", "operator"); err != nil {
		t.Fatal(err)
	}
	n.stop()
	if err := os.WriteFile(filepath.Join(dir, revokedName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg, Deps{Dir: dir, Log: quiet()}); err == nil || !strings.Contains(err.Error(), "cuts in force") {
		t.Errorf("a torn file is taken: %v", err)
	}
}

func TestTrailSurvivesATornLineAndRotates(t *testing.T) {
	dir := t.TempDir()
	trail, err := OpenTrail(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := trail.Record(Event{Kind: Attached, Channel: "a"}); err != nil {
		t.Fatal(err)
	}
	trail.Close()
	if err := trail.Record(Event{}); err == nil {
		t.Error("a closed trail takes events")
	}
	file := filepath.Join(dir, trailName)
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"kind":"tor`)
	f.Close()
	if trail, err = OpenTrail(dir); err != nil {
		t.Fatal(err)
	}
	trail.bytes = trailBytesMax // as if it were full
	if err := trail.Record(Event{Kind: Died, Channel: "b"}); err != nil {
		t.Fatal(err)
	}
	trail.Close()
	old, _ := os.ReadFile(file + ".1")
	now, _ := os.ReadFile(file)
	if strings.Count(string(old), "\n") != 1 || strings.Contains(string(old), "tor") || !strings.Contains(string(old), `"attached"`) {
		t.Errorf("the earlier file holds %q", old)
	}
	if !strings.Contains(string(now), `"died"`) || strings.Count(string(now), "\n") != 1 {
		t.Errorf("the newest file holds %q", now)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}
