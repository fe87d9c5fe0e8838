package shm

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/golden anew")

// stage is a ring with its memories, on which the lines of a script are done. A script in
// testdata/golden/NAME.txt is read by people; NAME.bin holds the memories at its images.
//
//	ring lane|broadcast LINES      w ... | r ...        one line for a hand, -> its answer
//	gate STATE REASON              asleep N             what brokers and readers write
//	poke OFFSET VALUE              8 bytes of data, as a hostile writer would
//	image                          the memories are now those of the golden file
//	late ...                       a reader that is opened on a copy of that image
type stage struct {
	t              *testing.T
	data, cursor   *os.File
	gate           *Gate
	dataMem, curs  memory // mapped before they are sealed, to poke
	late           []*os.File
	files          []io.Closer
	golden, images [][]byte // as in the file; as now
}

func (s *stage) close() {
	s.dataMem.unmap()
	s.curs.unmap()
	for _, f := range s.files {
		f.Close()
	}
}

// pathOf is how another process opens the memory.
func pathOf(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

const (
	goldenEpoch = 7
	goldenKey   = 0x1122334455667788
)

func (s *stage) ring(discipline, lines string) {
	n, err := strconv.ParseUint(lines, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	spec := Spec{Name: "md-nyse", Discipline: Lane, Lines: n, Epoch: goldenEpoch, Key: goldenKey, Created: time.Unix(1700000000, 0)}
	if discipline == "broadcast" {
		spec.Discipline = Broadcast
	}
	if s.data, err = CreateData(spec); err == nil {
		s.cursor, err = CreateCursor(spec.Name, spec.Epoch, 0)
	}
	if err == nil {
		s.gate, err = CreateGate(spec.Name, spec.Epoch)
	}
	anySize := func(int64) bool { return true }
	if err == nil {
		s.dataMem, err = mapMemory(s.data, true, anySize)
	}
	if err == nil {
		s.curs, err = mapMemory(s.cursor, true, anySize)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.files = append(s.files, s.data, s.cursor, s.gate)
}

// image is the three memories behind each other, with zeros where times are.
func (s *stage) image() []byte {
	b := bytes.Clone(s.dataMem.b)
	clear(b[offSampledAt : offSampledAt+8])
	c := bytes.Clone(s.curs.b)
	samples := uint64(0)
	for i := range 64 {
		samples += binary.LittleEndian.Uint64(c[offLatency+8*i:])
	}
	clear(c[offLatency : offLatency+64*8])
	binary.LittleEndian.PutUint64(c[offLatency:], samples)
	return append(append(b, c...), s.gate.mem.b...)
}

// copyOf makes sealed memories of an image. The cursor is not sealed yet.
func (s *stage) copyOf(image []byte) {
	filled := func(name string, b []byte) *os.File {
		f, err := createMemory(name, len(b))
		if err == nil {
			_, err = f.WriteAt(b, 0)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		s.files = append(s.files, f)
		return f
	}
	data := image[:len(image)-cursorBytes-gateBytes]
	s.late = []*os.File{filled("data", data), filled("cursor", image[len(data):len(data)+cursorBytes]), filled("gate", image[len(data)+cursorBytes:])}
	for _, f := range []*os.File{s.late[0], s.late[2]} {
		if err := Seal(f); err != nil {
			s.t.Fatal(err)
		}
	}
}

// line does one line of a script and returns the answer, if it has one.
func (s *stage) line(line string, w, r hand) (answer string, answered bool) {
	word := strings.Fields(line)
	number := func(i int) uint64 {
		n, err := strconv.ParseUint(word[i], 0, 64)
		if err != nil {
			s.t.Fatal(line, err)
		}
		return n
	}
	switch word[0] {
	case "ring":
		s.ring(word[1], word[2])
	case "gate":
		s.gate.Set(State(number(1)), uint32(number(2)))
	case "asleep":
		s.curs.storeHalf(offAsleep, uint32(number(1)))
	case "poke":
		s.dataMem.store(uintptr(number(1)), number(2))
	case "image":
		s.images = append(s.images, s.image())
		from := s.images[len(s.images)-1]
		if len(s.golden) >= len(s.images) {
			from = s.golden[len(s.images)-1]
		}
		s.copyOf(from)
	case "w":
		return s.writes(line, w), true
	case "r", "late":
		return s.reads(line, r), true
	default:
		s.t.Fatalf("no such line: %s", line)
	}
	return "", false
}

func (s *stage) seal(f *os.File) {
	if err := Seal(f); err != nil {
		s.t.Fatal(err)
	}
}

// writes puts the paths in that a hand needs.
func (s *stage) writes(line string, w hand) string {
	switch line {
	case "w open":
		answer := w.do("w open " + pathOf(s.data) + " " + pathOf(s.gate.File()))
		s.seal(s.data)
		return answer
	case "w add":
		return w.do("w add " + pathOf(s.cursor) + " 1")
	}
	return w.do(line)
}

func (s *stage) reads(line string, r hand) string {
	switch line {
	case "r open":
		answer := r.do("r open " + pathOf(s.data) + " " + pathOf(s.cursor) + " " + pathOf(s.gate.File()))
		s.seal(s.cursor)
		return answer
	case "late open":
		return r.do("late open " + pathOf(s.late[0]) + " " + pathOf(s.late[1]) + " " + pathOf(s.late[2]))
	}
	return r.do(line)
}

// play does a script with two hands. It returns the script with their answers.
func play(t *testing.T, script string, golden [][]byte, w, r hand) (told string, images [][]byte) {
	t.Helper()
	s := &stage{t: t, golden: golden}
	defer s.close()
	var out strings.Builder
	opened := map[string]bool{}
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		todo, _, _ := strings.Cut(line, " -> ")
		if todo == "" || todo[0] == '#' {
			out.WriteString(line + "\n")
			continue
		}
		answer, answered := s.line(todo, w, r)
		if who, verb, _ := strings.Cut(todo, " "); answered && verb == "open" && answer == "ok" {
			opened[who] = true
		}
		if answered {
			todo += " -> " + answer
		}
		out.WriteString(todo + "\n")
	}
	for who := range opened {
		h := r
		if who == "w" {
			h = w
		}
		if answer := h.do(who + " close"); answer != "ok" {
			t.Errorf("closing %s: %s", who, answer)
		}
	}
	return out.String(), s.images
}

// scene is one golden file.
type scene struct {
	name, script string
	images       [][]byte
}

// scenes reads all golden files.
func scenes(t *testing.T) []scene {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	var out []scene
	for _, f := range files {
		script, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		x := scene{name: strings.TrimSuffix(filepath.Base(f), ".txt"), script: string(script)}
		b, err := os.ReadFile(strings.TrimSuffix(f, ".txt") + ".bin")
		if err == nil {
			x.images = unpack(t, b)
		} else if !*update {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	return out
}

// pack writes images behind each other, each after its length, compressed.
func pack(images [][]byte) []byte {
	var out bytes.Buffer
	z, _ := zlib.NewWriterLevel(&out, zlib.BestCompression)
	for _, b := range images {
		z.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(b))))
		z.Write(b)
	}
	z.Close()
	return out.Bytes()
}

func unpack(t *testing.T, packed []byte) (images [][]byte) {
	t.Helper()
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for len(all) > 0 {
		n := binary.LittleEndian.Uint32(all)
		images, all = append(images, all[4:4+n]), all[4+n:]
	}
	return images
}

// differ tells where two images differ first.
func differ(got, want []byte) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d bytes, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			at, in := i, "data"
			switch data := len(got) - cursorBytes - gateBytes; {
			case i >= data+cursorBytes:
				at, in = i-data-cursorBytes, "gate"
			case i >= data:
				at, in = i-data, "cursor"
			}
			return fmt.Sprintf("byte %d of %s is %#x, want %#x", at, in, got[i], want[i])
		}
	}
	return ""
}

// compare plays a scene and holds answers and memories against the golden ones.
func (x scene) compare(t *testing.T, w, r hand) {
	t.Helper()
	told, images := play(t, x.script, x.images, w, r)
	if told != x.script {
		t.Errorf("the script went\n%s\nand should have gone\n%s", told, x.script)
	}
	if len(images) != len(x.images) {
		t.Fatalf("%d images, want %d", len(images), len(x.images))
	}
	for i := range images {
		if d := differ(images[i], x.images[i]); d != "" {
			t.Errorf("image %d: %s", i, d)
		}
	}
}

func TestMemoriesAreTheGoldenOnes(t *testing.T) {
	for _, x := range scenes(t) {
		t.Run(x.name, func(t *testing.T) {
			if *update {
				told, images := play(t, x.script, nil, newGoHand(), newGoHand())
				at := filepath.Join("testdata", "golden", x.name)
				if err := os.WriteFile(at+".txt", []byte(told), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(at+".bin", pack(images), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			x.compare(t, newGoHand(), newGoHand())
		})
	}
}
