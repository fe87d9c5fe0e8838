package direct

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"fire/policy"
	"fire/transport/channel"
	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

// monotonic is the clock that both processes share.
func monotonic() time.Duration {
	var at unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &at)
	return time.Duration(at.Nano())
}

const auditWindow = 1000 // messages of one reading: 50 ms

// childPaced publishes at a fixed rate. A message carries when it was due, whenever it is
// sent.
func childPaced(ctx context.Context, o channel.Options) {
	rate, err := strconv.Atoi(os.Getenv("FIRE_TEST_RATE"))
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	p, err := channel.OpenPublisher(ctx, o)
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	fmt.Println("attached")
	runtime.LockOSThread()
	every, b := time.Second/time.Duration(rate), make([]byte, 48)
	for due := monotonic(); ; due += every {
		for monotonic() < due {
		}
		binary.LittleEndian.PutUint64(b, uint64(due))
		for p.Offer(1, b) == shm.Full {
		}
	}
}

// childTimed tells after each window how late its messages were.
func childTimed(ctx context.Context, o channel.Options) {
	s, err := channel.OpenSubscriber(ctx, o)
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	fmt.Println("attached")
	runtime.LockOSThread()
	late := make([]time.Duration, 0, auditWindow)
	h := channel.Handler{Message: func(_ *channel.Source, _ uint16, p []byte) {
		late = append(late, monotonic()-time.Duration(binary.LittleEndian.Uint64(p)))
	}}
	for {
		if _, err := s.Poll(auditWindow-len(late), &h); err != nil {
			return
		}
		if len(late) < auditWindow {
			s.Wait()
			continue
		}
		slices.Sort(late)
		fmt.Println("late", late[len(late)/2].Nanoseconds(), late[len(late)*99/100].Nanoseconds())
		late = late[:0]
	}
}

// late is p50 and p99 of the first window that begins from now on.
func (c *child) late() (p50, p99 time.Duration) {
	c.t.Helper()
	for len(c.lines) > 0 {
		<-c.lines
	}
	c.until("late ") // began before
	if _, err := fmt.Sscanf(c.until("late "), "late %d %d", &p50, &p99); err != nil {
		c.t.Fatal(err)
	}
	return p50, p99
}

// TestAuditCostOfALane measures how late messages between two processes are while the direct
// node, a third one, digests all of them, and while it does not, in turns. It tells both: of
// all windows the middle one, and that of the quietest quarter, which says most on a machine
// that others use. With a core for each of the three the difference is what the audit costs;
// with fewer it is what any third busy process costs, so nothing is asserted of it.
func TestAuditCostOfALane(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures")
	}
	n := newNode(t)
	c := n.floor["orders"]
	c.Size = 1 << 20 // 0.8 s of messages
	n.floor["orders"] = c
	start(t, "paced", n.b.Path(), "orders", "publisher", "FIRE_TEST_RATE=20000")
	s := start(t, "timed", n.b.Path(), "orders", "subscriber")
	modes := []policy.AuditMode{policy.AuditOff, policy.AuditAll}
	var p50, p99 [2][]time.Duration
	for range 12 {
		for i, mode := range modes {
			c.Audit = mode
			n.floor["orders"] = c
			n.apply()
			a, b := s.late()
			p50[i], p99[i] = append(p50[i], a), append(p99[i], b)
		}
	}
	for _, q := range []float64{0.25, 0.5} {
		var at50, at99 [2]time.Duration
		for i := range modes {
			slices.Sort(p50[i])
			slices.Sort(p99[i])
			k := int(q * float64(len(p50[i])))
			at50[i], at99[i] = p50[i][k], p99[i][k]
		}
		t.Logf("windows at %.2f: off p50 %v, p99 %v; digest-all p50 %v (%+.1f %%), p99 %v (%+.1f %%); %d cores", q, at50[0], at99[0],
			at50[1], 100*(float64(at50[1])/float64(at50[0])-1), at99[1], 100*(float64(at99[1])/float64(at99[0])-1), runtime.NumCPU())
	}
	r := n.rings()[0]
	t.Logf("%d digested, %d unseen, %d times full", r.Digested, r.Unseen, r.Stat.Full)
	// The reader gets all of them at any rate, and the audit takes its part of the windows.
	if x := r.Readers[0]; r.Digested+r.Unseen == 0 || r.Digested >= r.Stat.Messages || x.Stat.Messages < 24*auditWindow {
		t.Errorf("%+v", r)
	}
}
