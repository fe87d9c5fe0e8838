package clock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fire/audit/entry"

	"golang.org/x/sys/unix"
)

// report builds a reply of chronyd as candm.h says it.
func report(seq uint32, edit func([]byte)) []byte {
	b := make([]byte, trackingBytes)
	b[0], b[1] = 6, 2
	be := binary.BigEndian
	be.PutUint16(b[4:], 33)
	be.PutUint16(b[6:], 5)
	be.PutUint32(b[16:], seq)
	be.PutUint32(b[28:], 0xc0000201)
	copy(b[32:], []byte{192, 0, 2, 1})
	be.PutUint16(b[48:], 1)
	be.PutUint16(b[52:], 3)
	be.PutUint32(b[56:], 0x7fffffff)
	be.PutUint32(b[60:], 1_700_000_000)
	be.PutUint32(b[64:], 5)
	for at, v := range map[int]float64{68: -25e-6, 80: -12.5, 84: 0.25, 88: 0.5, 92: 400e-6, 96: 30e-6} {
		be.PutUint32(b[at:], toFloat(v))
	}
	if edit != nil {
		edit(b)
	}
	return b
}

// toFloat is the other way of chronyFloat.
func toFloat(v float64) uint32 {
	frac, exp := math.Frexp(v)
	return uint32(exp+1)<<25 | uint32(int32(frac*(1<<24)))&(1<<25-1)
}

func about(got int64, want float64) bool { return math.Abs(float64(got)-want) <= math.Abs(want)/1e5+1 }

func TestTheTrackingReportIsRead(t *testing.T) {
	tr, err := parseTracking(report(7, nil), 7)
	if err != nil {
		t.Fatal(err)
	}
	if tr.Reference != "192.0.2.1" || tr.Stratum != 3 || tr.Leap != 0 || tr.Local || tr.MeasuredWall != 1_700_000_000_000_000_005 ||
		!about(tr.Offset, -25_000) || !about(tr.Frequency, -12_500) || !about(tr.Residual, 250) || !about(tr.Skew, 500) || !about(tr.RootDelay, 400_000) || !about(tr.RootDispersion, 30_000) {
		t.Errorf("%+v", tr)
	}
	w := tr.word(1, tr.MeasuredWall+2*ppb, 50*ppb)
	if w.Sync != entry.Synchronised || !about(w.BoundNanos, 25_000+30_000+200_000) || !about(w.RatePPB, 1_750) || w.Measured != 48*ppb {
		t.Errorf("%+v: |offset| + dispersion + delay/2 is 255 us; skew, residual and wander are 1.75 ppm", w)
	}
}

func TestWhatIsNoReportIsRefused(t *testing.T) {
	be := binary.BigEndian
	rows := map[string]func([]byte){
		"version 5": func(b []byte) { b[0] = 5 }, "a request": func(b []byte) { b[1] = 1 }, "another reply": func(b []byte) { be.PutUint16(b[6:], 6) },
		"refused": func(b []byte) { be.PutUint16(b[8:], 2) }, "a delay below zero": func(b []byte) { be.PutUint32(b[92:], toFloat(-1)) },
		"another question": func(b []byte) { be.PutUint16(b[4:], 34) }, "another sequence": func(b []byte) { be.PutUint32(b[16:], 8) },
	}
	for name, edit := range rows {
		if _, err := parseTracking(report(7, edit), 7); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for n := range trackingBytes {
		if _, err := parseTracking(report(7, nil)[:n], 7); err == nil {
			t.Errorf("%d bytes are taken", n)
		}
	}
}

func TestAClockThatFollowsItselfIsNotSynchronised(t *testing.T) {
	rows := map[string]func([]byte){
		"local":     func(b []byte) { copy(b[28:], []byte{127, 127, 1, 1}) },
		"leap 3":    func(b []byte) { b[55] = 3 },
		"stratum 0": func(b []byte) { b[53] = 0 },
	}
	for name, edit := range rows {
		tr, err := parseTracking(report(1, edit), 1)
		if w := tr.word(1, 0, 0); err != nil || w.Sync != entry.Unsynchronised || w.BoundNanos != unknownNanos {
			t.Errorf("%s: %v %+v", name, err, w)
		}
	}
	name := func(b []byte) { copy(b[28:], "PHC0"); b[49] = 0 }
	if tr, _ := parseTracking(report(1, name), 1); tr.Reference != "PHC0" {
		t.Errorf("a reference clock is called %q", tr.Reference)
	}
}

func FuzzTracking(f *testing.F) {
	f.Add(report(7, nil))
	f.Add(report(7, func(b []byte) { copy(b[68:], "\x7f\xff\xff\xff\xff\xff\xff\xff") }))
	f.Add([]byte{6, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := parseTracking(b, 7)
		if err != nil {
			return
		}
		w := tr.word(500, math.MaxInt64/2, math.MaxInt64/2)
		if w.BoundNanos < unknownNanos || w.RatePPB < 0 || w.RatePPB > maxRatePPB || w.shaken(math.MinInt64+1).BoundNanos < unknownNanos {
			t.Fatalf("%+v", w)
		}
		e := estimate{Word: w}
		if e.grown(int64(time.Second)) < e.grown(0) {
			t.Fatalf("the bound shrinks: %+v", w)
		}
	})
}

// ptpReply builds what ptp4l answers.
func ptpReply(seq, id uint16, data []byte) []byte {
	b := append(appendPTPGet(nil, 0, seq, id), data...)
	b[46] = ptpResponse
	binary.BigEndian.PutUint16(b[50:], uint16(2+len(data)))
	return b
}

func following() PTPState {
	return PTPState{OffsetNanos: -30, DelayNanos: 700, Steps: 1, Follows: true, Master: [8]byte{1, 2}, Class: 6, Accuracy: 0x21, UTCOffset: 37, UTCValid: true, TimescaleOK: true, Traceable: true}
}

func TestPTPsDataSetsAreRead(t *testing.T) {
	current, parent, props, status := make([]byte, 18), make([]byte, 32), []byte{0, 37, 0x3c, 0x20}, make([]byte, 50)
	binary.BigEndian.PutUint16(current, 1)
	binary.BigEndian.PutUint64(current[10:], 700<<16|0x8000)
	parent[19], parent[20], parent[24], parent[25] = 6, 0x21, 1, 2
	offset := int64(-30)
	binary.BigEndian.PutUint64(status, uint64(offset))
	status[41] = 1
	var s PTPState
	for id, data := range map[uint16][]byte{ptpCurrent: current, ptpParent: parent, ptpTime: props, ptpStatus: status} {
		got, err := parsePTP(ptpReply(5, id, data), 0, 5, id)
		if err == nil {
			err = s.take(id, got)
		}
		if err != nil {
			t.Fatal(err)
		}
		if s.take(id, data[:len(data)-1]) == nil {
			t.Errorf("%04x: a shorter one is taken", id)
		}
	}
	if s != following() {
		t.Errorf("%+v", s)
	}
}

func TestThePTPBoundHasAllThatIsMeasured(t *testing.T) {
	rows := []struct {
		name  string
		edit  func(*PTPState)
		hw    *Hardware
		sync  entry.Sync
		bound int64
	}{
		{"software stamps", func(*PTPState) {}, nil, entry.Synchronised, 30 + 700 + 100},
		{"a hardware clock on TAI", func(*PTPState) {}, &Hardware{"ptp0", -37*ppb + 200, 50}, entry.Synchronised, 30 + 200 + 50 + 700 + 100},
		{"one on an arbitrary timescale", func(s *PTPState) { s.TimescaleOK = false }, &Hardware{"ptp0", 200, 50}, entry.Synchronised, 30 + 200 + 50 + 700 + 100},
		{"UTC is not known", func(s *PTPState) { s.UTCValid = false }, &Hardware{"ptp0", -37 * ppb, 50}, entry.Unsynchronised, unknownNanos},
		{"it follows nobody", func(s *PTPState) { s.Follows = false }, nil, entry.Unsynchronised, unknownNanos},
		{"a grandmaster that runs free", func(s *PTPState) { s.Class = 248 }, nil, entry.Unsynchronised, unknownNanos},
		{"one that does not say how exact", func(s *PTPState) { s.Accuracy = 0xfe }, nil, entry.Synchronised, unknownNanos},
	}
	for _, r := range rows {
		s := following()
		r.edit(&s)
		if w := s.word(r.hw, 1, 9); w.Sync != r.sync || w.BoundNanos != r.bound || w.Source != entry.ClockPTP {
			t.Errorf("%s: %v %d, want %v %d", r.name, w.Sync, w.BoundNanos, r.sync, r.bound)
		}
	}
	if accuracy(0x20) != 25 || accuracy(0x27) != 100_000 || accuracy(0x2f) != ppb || accuracy(0x30) != -1 || accuracy(0x16) != -1 {
		t.Error("accuracies are not those of table 5")
	}
}

func TestAClockThatLeavesItsReferenceGrowsFaster(t *testing.T) {
	p := &ptp{}
	s := following()
	w := p.moving(s.word(&Hardware{"ptp0", -37 * ppb, 50}, 1, 10*ppb))
	if w.RatePPB != 1000 {
		t.Errorf("the first word: %d ppb", w.RatePPB)
	}
	if w = p.moving(s.word(&Hardware{"ptp0", -37*ppb + 20_000, 50}, 1, 11*ppb)); w.RatePPB != 21_000 {
		t.Errorf("20 us within a second are 20 ppm more, not %d ppb", w.RatePPB)
	}
}

func TestTheQuickestReadingOfADeviceCounts(t *testing.T) {
	at := func(n int64) unix.PtpClockTime { return unix.PtpClockTime{Sec: n / ppb, Nsec: uint32(n % ppb)} }
	hw, ok := nearest([][3]unix.PtpClockTime{{at(5000), at(9000), at(9000)}, {at(6000), at(9050), at(6100)}, {at(9000), at(9000), at(8000)}})
	if !ok || hw.OffsetNanos != -3000 || hw.WithinNanos != 50 {
		t.Errorf("%+v", hw)
	}
	if _, ok := nearest(nil); ok {
		t.Error("a reading of nothing")
	}
	if _, err := measure("/dev/null"); err == nil {
		t.Error("/dev/null is a clock")
	}
}

func FuzzPTP(f *testing.F) {
	for _, id := range []uint16{ptpCurrent, ptpParent, ptpTime, ptpStatus} {
		f.Add(ptpReply(7, id, make([]byte, 50)), id)
	}
	f.Add(ptpReply(7, ptpStatus, nil), uint16(ptpStatus))
	f.Fuzz(func(t *testing.T, b []byte, id uint16) {
		data, err := parsePTP(b, 0, 7, id)
		s := following()
		if err != nil || s.take(id, data) != nil {
			return
		}
		for _, hw := range []*Hardware{nil, {"ptp0", -37 * ppb, 50}} {
			if w := s.word(hw, 500, 9); w.BoundNanos < unknownNanos || (w.BoundNanos >= 0) != (w.Sync == entry.Synchronised && accuracy(s.Accuracy) >= 0 && s.DelayNanos >= 0) {
				t.Fatalf("%+v of %+v", w, s)
			}
		}
	})
}

// TestALiarIsNotWaitedFor: other packets do not keep us, and silence ends.
func TestALiarIsNotWaitedFor(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		buf := make([]byte, 256)
		n, from, err := conn.ReadFrom(buf)
		for i := range uint32(100) {
			if err == nil {
				_, err = conn.WriteTo(report(binary.BigEndian.Uint32(buf[8:n])+1+i, nil), from)
			}
		}
	}()
	c := &chrony{ways: []string{conn.LocalAddr().String()}, now: host{time.Now()}.Now}
	if _, err := c.Ask(t.Context()); !errors.Is(err, errOtherReply) {
		t.Error("answers to other questions:", err)
	}
	if _, err := c.Ask(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("silence:", err)
	}
	if _, err := (&chrony{now: c.now}).Ask(t.Context()); !errors.Is(err, errAbsent) {
		t.Error("no way:", err)
	}
	if _, err := (&ptp{ways: []string{filepath.Join(t.TempDir(), "none")}, now: c.now}).Ask(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Error("no socket:", err)
	}
}

// program finds a daemon, which is not in everybody's path.
func program(t *testing.T, name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Skip(name + " is not installed")
		}
	}
	if os.Geteuid() != 0 {
		t.Skip(name + " wants to be started by root")
	}
	return path
}

// launch runs a daemon until the test ends.
func launch(t *testing.T, path string, args ...string) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, path, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Skip("cannot start:", err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
}

func freePort(t *testing.T) int {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// until asks again and again.
func until(t *testing.T, a asker, what string, ok func(Word) bool) Word {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var w Word
	var err error
	for range 400 {
		<-tick.C
		if w, err = a.Ask(t.Context()); err == nil && ok(w) {
			return w
		}
	}
	t.Fatalf("never %s: %v %+v", what, err, w)
	return w
}

// TestTheRealChronydAnswers runs two of them, which control no clock (-x): one follows itself,
// the other follows it; each is asked over its socket and its port.
func TestTheRealChronydAnswers(t *testing.T) {
	path := program(t, "chronyd")
	now := host{time.Now()}.Now
	ntp := freePort(t)
	start := func(name, lines string) (sock, addr string) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil { // chronyd wants its folder closed
			t.Fatal(err)
		}
		port := freePort(t)
		conf := filepath.Join(dir, name+".conf")
		text := fmt.Sprintf("cmdport %d\nbindcmdaddress 127.0.0.1\nbindcmdaddress %s/c.sock\npidfile %s/pid\n%s\n", port, dir, dir, lines)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		launch(t, path, "-x", "-d", "-u", "root", "-U", "-f", conf)
		return dir + "/c.sock", fmt.Sprintf("127.0.0.1:%d", port)
	}
	sock, addr := start("server", fmt.Sprintf("port %d\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 8", ntp))
	for _, way := range []string{sock, addr} {
		w := until(t, &chrony{ways: []string{"/nowhere", way}, wander: 1, now: now}, "follows itself", func(w Word) bool { return w.Stratum == 8 })
		if w.Sync != entry.Unsynchronised || w.BoundNanos != unknownNanos || w.Note != "follows itself" {
			t.Errorf("%s: %+v", way, w)
		}
	}
	if left, _ := filepath.Glob(filepath.Dir(sock) + "/fire.*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	sock, _ = start("client", fmt.Sprintf("port 0\nserver 127.0.0.1 port %d minpoll -6 maxpoll -6 iburst", ntp))
	c := &chrony{ways: []string{sock}, wander: 1, now: now}
	if w, err := c.Ask(t.Context()); err == nil && w.Sync == entry.Synchronised {
		t.Error("synchronised before it began")
	}
	w := until(t, c, "synchronised", func(w Word) bool { return w.Sync == entry.Synchronised })
	if w.Reference != "127.0.0.1" || w.Stratum != 9 || w.BoundNanos <= 0 || w.BoundNanos > int64(time.Second) || w.RatePPB < 1000 || w.Measured > w.Mono || w.Mono-w.Measured > int64(time.Minute) {
		t.Errorf("%+v", w)
	}
}

// TestTheRealPTP4LAnswers runs one that is its own master, stamps in software, and steers nothing.
func TestTheRealPTP4LAnswers(t *testing.T) {
	path := program(t, "ptp4l")
	sock := filepath.Join(t.TempDir(), "s")
	launch(t, path, "-i", "lo", "-S", "-m", "--uds_address", sock, "--free_running", "1", "--domainNumber", "3", "--clockClass", "6", "--clockAccuracy", "0x21")
	p := &ptp{ways: []string{sock}, domain: 3, wander: 1, now: host{time.Now()}.Now}
	w := until(t, p, "answers", func(Word) bool { return true })
	if w.Source != entry.ClockPTP || w.Sync != entry.Unsynchronised || !strings.Contains(w.Note, "gm_class=6 gm_accuracy=0x21") || !strings.Contains(w.Note, "follows=nobody") {
		t.Errorf("%+v", w)
	}
	p.domain = 4
	if w, err := p.Ask(t.Context()); err == nil {
		t.Errorf("it answers in another domain: %+v", w)
	}
	if _, err := os.Stat(sock); err != nil {
		t.Error(err)
	}
}
