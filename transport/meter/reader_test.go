package meter

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const childEnv = "FIRE_METER_TEST_CHILD"

// TestMain lets the test binary be the other process: it writes a page, says so,
// and then spins.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		os.Exit(child(path))
	}
	os.Exit(m.Run())
}

func child(path string) int {
	p, err := Create(path, 4)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	p.Describe("proxy", "h2", "v1.2.3")
	e := p.Edge(EdgeKey{"strategy", "gateway", "out"})
	for range 1000 {
		e.Requests.Add(1)
		e.Latency.Record(42 * time.Microsecond)
	}
	e.AddReason(303)
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadByte() // until the parent lets go
	return 0
}

func TestStoppedProcessStaysReadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meter.page")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGCONT)
		in.Close()
		cmd.Wait()
	}()
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the other process says %q", line)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("not stopped: %v %v", status, err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	facts, err := r.Facts()
	if err != nil || facts.PID != cmd.Process.Pid || facts.Role != "proxy" || facts.Node != "h2" || facts.Version != "v1.2.3" || facts.Used != 2 {
		t.Fatalf("facts %+v, %v", facts, err)
	}
	edges, err := r.Snapshot()
	if err != nil || len(edges) != 1 {
		t.Fatalf("%d edges, %v", len(edges), err)
	}
	e := edges[0]
	if e.EdgeKey != (EdgeKey{"strategy", "gateway", "out"}) || e.Requests != 1000 || e.Latency.Count() != 1000 || e.Reasons[303] != 1 {
		t.Fatalf("got %+v", e)
	}
	if p50 := e.Latency.Quantile(0.5); p50 < 41_670 || p50 > 42_330 {
		t.Fatalf("p50 %v", p50)
	}
}

func TestReaderAndOwnerSeeTheSame(t *testing.T) {
	p := newTestPage(t, 4)
	e := p.Edge(EdgeKey{"a", "b", "in"})
	for i := range 500 {
		e.Latency.Record(time.Duration(i*i) * time.Microsecond)
		e.Connect.Record(time.Duration(i))
	}
	e.Active.Add(-3)
	e.Opened.Add(1)
	e.BytesIn.Add(2)
	e.LastUnixNanos.Store(77)
	r, err := Open(p.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	theirs, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	ours := p.Snapshot()
	if len(ours) != 1 || len(theirs) != 1 || fmt.Sprintf("%+v", ours) != fmt.Sprintf("%+v", theirs) {
		t.Fatalf("ours   %+v\ntheirs %+v", ours, theirs)
	}
	if !ours[0].Latency.Equal(e.Latency.Snapshot()) || !ours[0].Connect.Equal(e.Connect.Snapshot()) || ours[0].Active != -3 {
		t.Fatal("the snapshot is not what the cell holds")
	}
}

func TestReaderRefusesWhatIsNoPage(t *testing.T) {
	good, err := os.ReadFile(newTestPage(t, 1).Path())
	if err != nil {
		t.Fatal(err)
	}
	mutate := func(off int, v uint64) []byte {
		b := bytes.Clone(good)
		binary.NativeEndian.PutUint64(b[off:], v)
		return b
	}
	for want, b := range map[string][]byte{
		"too few":          good[:headerBytes],
		"not a meter page": mutate(offMagic, 1),
		"layout version 9": mutate(offVersion, 9),
		"layout hash":      mutate(offHash, 9),
	} {
		path := filepath.Join(t.TempDir(), "page")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder was opened as a page")
	}
}

func TestTruncationUnderAReaderIsAnError(t *testing.T) {
	p := newTestPage(t, 4)
	path := filepath.Join(t.TempDir(), "copy")
	b, _ := os.ReadFile(p.Path())
	binary.NativeEndian.PutUint64(b[offUsed:], 1<<60) // and a count nobody may believe
	os.WriteFile(path, b, 0o600)
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if f, _ := r.Facts(); f.Used != 5 {
		t.Fatalf("used %d of a page with 5 cells", f.Used)
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Snapshot(); err == nil {
		t.Fatal("a truncated page was read")
	}
}

// FuzzReader lays the input over a page that passes the header's checks, so that
// the fuzzer reaches the cells, and also reads it bare.
func FuzzReader(f *testing.F) {
	mem := make([]byte, headerBytes+2*cellBytes)
	newPage("", nil, mem, 2)
	f.Add([]byte{})
	f.Add(mem[:512])
	f.Add(mem[headerBytes : headerBytes+2048])
	f.Add(bytes.Repeat([]byte{0xff}, headerBytes+2*cellBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerBytes {
			_ = checkHeader(b, len(b))
		}
		page := bytes.Clone(mem)
		copy(page[offCells:headerBytes], b)
		for off := headerBytes; off < len(page) && len(b) > 0; off += len(b) {
			copy(page[off:], b)
		}
		copy(page[offCellSize:], b)
		facts := decodeFacts(page[:headerBytes], len(page))
		if facts.Used > 2 || facts.Used < 0 {
			t.Fatalf("%d cells in use of 2", facts.Used)
		}
		edges, err := readCells(bytes.NewReader(page), facts.Used)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range edges {
			if strings.ContainsFunc(e.Src+e.Dst+e.Side, func(r rune) bool { return r < 0x20 || r > 0x7e }) || len(e.Src) > nameMax {
				t.Fatalf("name %q reached the caller", e.Src)
			}
			exercise(t, e.Latency)
			exercise(t, e.Connect)
		}
	})
}
