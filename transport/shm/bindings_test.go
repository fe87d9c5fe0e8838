package shm

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// constants are the layout's numbers by their name in fire_ring.h and Layout.java.
var constants = map[string]uint64{
	"LAYOUT_VERSION": Version, "LAYOUT_HASH": layoutHash, "LINE_BYTES": lineBytes, "HEADER_BYTES": headerBytes,
	"LINES_MIN": linesMin, "LINES_MAX": linesMax, "MESSAGE_MAX": MessageMax, "NAME_MAX": nameBytesMax,
	"DATA_HEAD_BYTES": dataHeadBytes, "CURSOR_BYTES": cursorBytes, "GATE_BYTES": gateBytes, "READERS_MAX": readersMax,
	"SAMPLE_EVERY": sampleEvery, "MAGIC_DATA": magicData, "MAGIC_CURSOR": magicCursor, "MAGIC_GATE": magicGate,
	"OFF_MAGIC": offMagic, "OFF_VERSION": offVersion, "OFF_DISCIPLINE": offDiscipline, "OFF_HASH": offHash,
	"OFF_LINES": offLines, "OFF_KEY": offKey, "OFF_EPOCH": offEpoch, "OFF_CREATED": offCreated, "OFF_NAME_LEN": offNameLen,
	"OFF_NAME": offName, "OFF_MARK": offMark, "OFF_MARKS": offMarks, "OFF_INTENT": offIntent, "OFF_BELL": offBell,
	"OFF_SAMPLED": offSampled, "OFF_SAMPLED_AT": offSampledAt, "OFF_WRITTEN": offWritten, "OFF_LENGTH": offLength,
	"OFF_PAYLOAD": offPayload, "FLAG_PAD": flagPad, "FLAG_SAMPLE": flagSample, "OFF_POSITION": offPosition,
	"OFF_ASLEEP": offAsleep, "OFF_READ": offRead, "OFF_LATENCY": offLatency, "OFF_STATE": offState, "OFF_REASON": offReason,
	"LANE": uint64(Lane), "BROADCAST": uint64(Broadcast), "OPEN": uint64(Open), "REVOKED": uint64(Revoked),
	"CLOSED": uint64(Closed), "ORPHANED": uint64(Orphaned), "SEALS": sealsWanted,
}

// numbersIn are the files that state the layout's numbers once more, and how.
var numbersIn = map[string]string{
	"bindings/c/fire_ring.h":         `(?m)^#define FIRE_(\w+) (0x[0-9a-f]+|\d+)`,
	"bindings/java/fire/Layout.java": `(?m)^ *static final (?:int|long) (\w+) = (0x[0-9a-f]+|\d+)L?;`,
}

func TestBindingsHaveTheSameNumbers(t *testing.T) {
	for file, pattern := range numbersIn {
		text, err := os.ReadFile(filepath.FromSlash(file))
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]uint64{}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			if found[m[1]], err = strconv.ParseUint(m[2], 0, 64); err != nil {
				t.Errorf("%s: %s: %v", file, m[0], err)
			}
		}
		for name, want := range constants {
			if got, ok := found[name]; !ok || got != want {
				t.Errorf("%s: %s is %#x (there: %v), Go has %#x", file, name, got, ok, want)
			}
		}
	}
}

// workshop builds what of the bindings is asked for, once.
type workshop struct {
	folder string
	made   map[string]bool
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	if testing.Short() {
		t.Skip("it calls compilers")
	}
	// What is read here makes a cached test result end when a source changes.
	err := filepath.WalkDir("bindings", func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			_, err = os.ReadFile(p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return &workshop{t.TempDir(), map[string]bool{}}
}

// built is the path of what bindings/build makes with these arguments. Without the tool the
// test skips.
func (w *workshop) built(t *testing.T, path, tool string, arguments ...string) string {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("%s is not here", tool)
	}
	if what := strings.Join(arguments, " "); !w.made[what] {
		out, err := exec.CommandContext(t.Context(), "bindings/build", append([]string{w.folder}, arguments...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		w.made[what] = true
	}
	return filepath.Join(w.folder, path)
}

// process is a hand that is another program.
type process struct {
	t    *testing.T
	name string
	in   io.Writer
	out  *bufio.Reader
}

func start(t *testing.T, name string, argv ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // t's own ends before it may end by itself
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		err := cmd.Wait()
		cancel()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	return &process{t, name, in, bufio.NewReader(out)}
}

// do may be called from any goroutine, so it does not end the test.
func (p *process) do(line string) string {
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return fmt.Sprintf("%s is gone: %v", p.name, err)
	}
	answer, err := p.out.ReadString('\n')
	if err != nil {
		return fmt.Sprintf("%s is gone: %v", p.name, err)
	}
	return strings.TrimSuffix(answer, "\n")
}

// languages have a driver that plays the golden scripts.
var languages = []string{"c", "python", "java"}

// hand starts a binding's driver.
func (w *workshop) hand(t *testing.T, language string) *process {
	t.Helper()
	switch language {
	case "sanitized":
		return start(t, language, w.built(t, "driver-sanitized", "cc", "sanitized", "driver"))
	case "python":
		if _, err := exec.LookPath("python3"); err != nil {
			t.Skip("python3 is not here")
		}
		return start(t, language, "python3", "-B", "bindings/python/driver.py", w.built(t, "libfire_ring.so", "cc", "library"))
	case "java":
		if out, err := exec.CommandContext(t.Context(), "java", "--list-modules").Output(); err != nil || !strings.Contains(string(out), "jdk.incubator.foreign@17") {
			t.Skip("JDK 17 is not here")
		}
		return start(t, language, "java", "-XX:TieredStopAtLevel=1", "--add-modules", "jdk.incubator.foreign", "--enable-native-access=ALL-UNNAMED",
			"-cp", w.built(t, "java", "javac", "java"), "fire.Driver")
	}
	return start(t, language, w.built(t, "driver", "cc", "c", "driver"))
}

// TestBindings holds each binding against the golden memories, against memory that it must
// refuse, and lets it talk with Go and with C.
func TestBindings(t *testing.T) {
	w := newWorkshop(t)
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			h := w.hand(t, language)
			for _, x := range scenes(t) {
				t.Run(x.name, func(t *testing.T) {
					x.compare(t, h, newGoHand())
					x.compare(t, newGoHand(), h)
					x.compare(t, h, h)
				})
			}
			t.Run("refuses foreign memory", func(t *testing.T) { refusals(t, h) })
			t.Run("writes for Go", func(t *testing.T) { interplay(t, h, newGoHand()) })
			t.Run("reads from Go", func(t *testing.T) { interplay(t, newGoHand(), h) })
			t.Run("writes for C", func(t *testing.T) { interplay(t, h, w.hand(t, "c")) })
			t.Run("reads from C", func(t *testing.T) { interplay(t, w.hand(t, "c"), h) })
		})
	}
	t.Run("hostile", func(t *testing.T) {
		h := w.hand(t, "sanitized") // every wrong access ends it
		t.Run("peers", func(t *testing.T) { hostilePeers(t, h) })
		t.Run("images", func(t *testing.T) { spoiledImages(t, h) })
	})
}

// interplay lets two hands exchange messages at full speed, in both disciplines.
func interplay(t *testing.T, w, r hand) {
	t.Helper()
	const count, most = 20_000, 300
	for _, discipline := range []string{"lane", "broadcast"} {
		s := &stage{t: t}
		s.begin(w, r, discipline, "256")
		pumped := make(chan string, 1)
		go func() { pumped <- w.do(fmt.Sprintf("w pump %d %d", count, most)) }()
		got := r.do(fmt.Sprintf("r drain %d %d", count, most))
		if answer := <-pumped; answer != "pumped" {
			t.Errorf("%s: the writer says %s", discipline, answer)
		}
		var messages, lost, wrong, code int
		if n, err := fmt.Sscanf(got, "drained %d lost %d wrong %d code %d", &messages, &lost, &wrong, &code); n != 4 || err != nil {
			t.Fatalf("%s: the reader says %s", discipline, got)
		}
		if messages+lost != count || wrong != 0 || code != 0 || discipline == "lane" && lost != 0 {
			t.Errorf("%s: the reader says %s", discipline, got)
		}
		s.end(w, r)
	}
}

// begin makes a ring with a writer and a reader.
func (s *stage) begin(w, r hand, discipline, lines string) {
	s.t.Helper()
	s.ring(discipline, lines)
	for _, line := range []string{"w open", "r open", "w add"} {
		if answer, _ := s.line(line, w, r); answer != "ok" {
			s.t.Fatalf("%s: %s", line, answer)
		}
	}
}

func (s *stage) end(w, r hand) {
	s.t.Helper()
	for _, line := range []string{"w close", "r close"} {
		if answer, _ := s.line(line, w, r); answer != "ok" {
			s.t.Errorf("%s: %s", line, answer)
		}
	}
	s.close()
}

// refusals shows a binding memories that no end may take.
func refusals(t *testing.T, h hand) {
	s := &stage{t: t}
	s.ring("lane", "64")
	defer s.close()
	other, err := CreateGate("x", goldenEpoch+1)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	data, cursor, gate := pathOf(s.data), pathOf(s.cursor), pathOf(s.gate.File())
	is := func(want, line string) {
		t.Helper()
		if got := h.do(line); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	is("error -6", "r open "+data+" "+cursor+" "+gate) // not sealed
	is("error -7", "w open "+gate+" "+gate)            // no such size
	is("error -12", "w open "+data+" "+pathOf(other.File()))
	is("ok", "w open "+data+" "+gate)
	is("error -6", "w add "+cursor+" 1")
	is("sent", "w offer 1 10 1")
	is("ok", "w close")
	is("error -13", "w open "+data+" "+gate) // it has had a writer
	s.seal(s.data)
	is("error -5", "w open "+data+" "+gate) // nobody maps it for writing any more
	for _, c := range []struct {
		off  uintptr
		v    uint64
		want int
	}{{offMagic, 1, -8}, {offVersion, 2 | uint64(Lane)<<32, -9}, {offHash, 1, -10}, {offLines, 128, -11}, {offNameLen, 64, -11}, {offNameLen, 0, -11},
		{offVersion, Version | 3<<32, -11}} {
		old := s.dataMem.load(c.off)
		s.dataMem.store(c.off, c.v)
		is(fmt.Sprintf("error %d", c.want), "r open "+data+" "+cursor+" "+gate)
		s.dataMem.store(c.off, old)
	}
	is("error -7", "r open "+data+" "+data+" "+gate)
	is("error -12", "r open "+data+" "+cursor+" "+pathOf(other.File()))
	is("ok", "r open "+data+" "+cursor+" "+gate)
	is("ok", "r close")
}

// hostilePeers lets Go scribble over the ring while C reads, and over the cursor while C
// writes.
func hostilePeers(t *testing.T, h hand) {
	const ms = 300
	for _, discipline := range []string{"lane", "broadcast"} {
		s, w := &stage{t: t}, newGoHand()
		s.begin(w, h, discipline, "64")
		answer := scribbling(w.w, s.dataMem.b, func() string { return h.do("r endure " + strconv.Itoa(ms)) },
			dataHeadBytes, dataHeadBytes+lineBytes*17, offMark, offIntent, offSampled)
		if answer != "endured" {
			t.Error(answer)
		}
		s.end(w, h)

		s, r := &stage{t: t}, newGoHand()
		s.begin(h, r, discipline, "64")
		answer = scribbling(nil, s.curs.b, func() string { return h.do("w flood " + strconv.Itoa(ms)) }, offPosition, offAsleep, offRead)
		if answer != "flooded" {
			t.Error(answer)
		}
		s.end(h, r)
	}
}

// scribbling writes wild numbers beside what do does, and honest messages, if it has a writer.
func scribbling(w *Writer, b []byte, do func() string, near ...int) string {
	done := make(chan string, 1)
	go func() { done <- do() }()
	s := &scribbler{b, rand.New(rand.NewPCG(1, 2))}
	for {
		select {
		case answer := <-done:
			return answer
		default:
			for range 100 {
				if w != nil {
					w.Offer(1, make([]byte, s.rng.IntN(900)))
				}
				s.scribble(near...)
			}
		}
	}
}

// spoiledImages gives a C reader whole memories that are wrong in some places.
func spoiledImages(t *testing.T, h hand) {
	rng := rand.New(rand.NewPCG(3, 4))
	opened := 0
	for _, x := range scenes(t) {
		for range 30 {
			image := append([]byte(nil), x.images[len(x.images)-1]...)
			for range 1 + rng.IntN(4) {
				at := rng.IntN(len(image)/8) * 8
				if rng.IntN(3) > 0 {
					at = rng.IntN(dataHeadBytes+8*lineBytes) &^ 7
				}
				binary.LittleEndian.PutUint64(image[at:], []uint64{0, ^uint64(0), 1, 1 << 63, rng.Uint64(), 0xffffffff}[rng.IntN(6)])
			}
			s := &stage{t: t}
			s.copyOf(image)
			if s.reads("late open", h) == "ok" {
				opened++
				for range 3 {
					h.do("late poll 100")
				}
				h.do("late close")
			}
			s.close()
		}
	}
	if opened == 0 {
		t.Error("no image was good enough to be read")
	}
}
