package shm

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// thiefChild is the environment that makes TestThiefChild the process that got hold of a
// writer's descriptor.
const thiefChild = "FIRE_SHM_TEST_THIEF"

// TestThiefChild is no test: it tries all ways to write the memory of descriptor 3, which
// another process writes, and says which have worked.
func TestThiefChild(t *testing.T) {
	owner := os.Getenv(thiefChild)
	if owner == "" {
		t.Skip("run by the test of a second writer")
	}
	again := func() int { // the writer's own, by its process
		fd, err := unix.Open(owner, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return 3
		}
		return fd
	}
	page := os.Getpagesize()
	for _, fd := range []int{3, again()} {
		b, err := unix.Mmap(fd, 0, page, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal("it cannot even be read: ", err)
		}
		for what, try := range map[string]func() error{
			"a writable map": func() error {
				_, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
				return err
			},
			"a map made writable": func() error { return unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE) },
			"write":               func() error { _, err := unix.Pwrite(fd, []byte("x"), dataHeadBytes); return err },
			"cutting it":          func() error { return unix.Ftruncate(fd, 0) },
			"a hole": func() error {
				return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(page))
			},
			"its writer's memory": func() error { // a debugger may; nobody else
				_, err := OpenWriter(os.NewFile(uintptr(fd), "data"), os.NewFile(4, "gate"))
				return err
			},
		} {
			if err := try(); err == nil {
				fmt.Printf("got in: %s through %d\n", what, fd)
			}
		}
	}
	fmt.Println("tried all")
}

// A lane has one writer for its life: who gets hold of its memory can read it, as every
// reader, and is no second one.
func TestStolenDescriptorMakesNoSecondWriter(t *testing.T) {
	for _, d := range []Discipline{Lane, Broadcast} {
		c := newChannel(t, d, linesMin)
		r, _ := c.reader(0)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestThiefChild$")
		cmd.Env = append(os.Environ(), thiefChild+fmt.Sprintf("=/proc/%d/fd/%d", os.Getpid(), c.data.Fd()))
		cmd.ExtraFiles = []*os.File{c.data, c.gate.File()}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "tried all") || strings.Contains(string(out), "got in") {
			t.Errorf("%v\n%s", err, out)
		}
		if c.w.Offer(1, []byte("mine")) != Sent {
			t.Fatal("the writer is shut out")
		}
		if n, gap, err := r.Poll(9, func(_ uint16, p []byte) {
			if string(p) != "mine" {
				t.Errorf("%q", p)
			}
		}); n != 1 || gap != (Gap{}) || err != nil {
			t.Error(n, gap, err)
		}
	}
}

// What another version of this package has made, or something else, is refused by one error
// that says which of both is what.
func TestMemoryOfAnotherLayoutIsRefusedByName(t *testing.T) {
	for _, c := range []struct {
		at   uintptr
		v    uint64
		says []string
	}{
		{offVersion, 2 | uint64(Lane)<<32, []string{"layout version 2", "knows 1", "update"}},
		{offHash, 0x1234, []string{"layout hash 0000000000001234", fmt.Sprintf("%016x", uint64(layoutHash))}},
		{offMagic, 0x1234, []string{"no data of a ring"}},
		{offLines, 128, []string{"128 lines"}},
		{offVersion, Version | 3<<32, []string{"discipline 3"}},
	} {
		data, err := CreateData(Spec{Name: "md-nyse", Discipline: Lane, Lines: linesMin, Epoch: 7})
		if err != nil {
			t.Fatal(err)
		}
		m, err := mapMemory(data, true, func(int64) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		m.store(c.at, c.v)
		if err := m.unmap(); err != nil {
			t.Fatal(err)
		}
		g, err := CreateGate("md-nyse", 7)
		if err != nil {
			t.Fatal(err)
		}
		cursor, err := CreateCursor("md-nyse", 7, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, asWriter := OpenWriter(data, g.File())
		if err := Seal(data); err != nil {
			t.Fatal(err)
		}
		_, asReader := OpenReader(data, cursor, g.File())
		_, asTail := OpenTail(data)
		_, asView := OpenView(data)
		for who, err := range map[string]error{"a writer": asWriter, "a reader": asReader, "a tail": asTail, "a view": asView} {
			for _, want := range append(c.says, "fire-ring-md-nyse") {
				if err == nil || strings.Count(err.Error(), want) != 1 {
					t.Errorf("%s hears %v, want %q once", who, err, want)
				}
			}
		}
		data.Close()
		cursor.Close()
		g.Close()
	}
}
