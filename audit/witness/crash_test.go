package witness

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// platter is a file system in memory that tells what is on the disk from what only seems to be:
// content counts after Sync of its file, names after Sync of the folder. It fails, or the machine
// dies, at a step of choice.
type platter struct {
	mu      sync.Mutex
	steps   int
	failAt  int  // this step gives an error; 0: none
	dieAt   int  // before this step everything stops; 0: never
	dead    bool //
	folders map[string]*side
}

// side is one folder of a platter.
type side struct {
	p    *platter
	now  map[string]*content // as programs see it
	disk map[string]*content // as it was at the last Sync of the folder
}

type content struct{ now, disk []byte }

var errInjected, errDead = errors.New("injected failure"), errors.New("the machine is dead")

func (p *platter) open(dir string) (disk, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.folders == nil {
		p.folders = map[string]*side{}
	}
	name := filepath.Base(dir)
	if p.folders[name] == nil {
		p.folders[name] = &side{p: p, now: map[string]*content{}, disk: map[string]*content{}}
	}
	return p.folders[name], nil
}

// step counts one thing done to the disk. The caller has the mutex.
func (p *platter) step() error {
	p.steps++
	if p.dead || p.steps == p.dieAt {
		p.dead = true
		return errDead
	}
	if p.steps == p.failAt {
		return errInjected
	}
	return nil
}

// restart is the machine after the power came back. luck says what became of what was not
// synced: nothing of it, all of it, or names without their content.
func (p *platter) restart(luck string) *platter {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := &platter{folders: map[string]*side{}}
	for name, s := range p.folders {
		to := &side{p: out, now: map[string]*content{}, disk: map[string]*content{}}
		names := s.disk
		if luck != "nothing" {
			names = s.now
		}
		for n, c := range names {
			data := c.disk
			switch luck {
			case "all":
				data = c.now
			case "half":
				if len(c.now) != len(c.disk) || !bytes.Equal(c.now, c.disk) {
					data = c.now[:len(c.now)/2]
				}
			}
			kept := &content{bytes.Clone(data), bytes.Clone(data)}
			to.now[n], to.disk[n] = kept, kept
		}
		out.folders[name] = to
	}
	return out
}

func (s *side) Names() ([]string, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return slices.Sorted(maps.Keys(s.now)), nil
}

func (s *side) Read(name string) ([]byte, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	c, ok := s.now[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(c.now), nil
}

func (s *side) Create(name string) (file, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if err := s.p.step(); err != nil {
		return nil, err
	}
	c := &content{}
	s.now[name] = c
	return &handle{s.p, c}, nil
}

func (s *side) Rename(from, to string) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if err := s.p.step(); err != nil {
		return err
	}
	s.now[to] = s.now[from]
	delete(s.now, from)
	return nil
}

func (s *side) Remove(name string) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if err := s.p.step(); err != nil {
		return err
	}
	delete(s.now, name)
	return nil
}

func (s *side) Sync() error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if err := s.p.step(); err != nil {
		return err
	}
	s.disk = maps.Clone(s.now)
	return nil
}

func (s *side) Close() error { return nil }

type handle struct {
	p *platter
	c *content
}

func (h *handle) Write(b []byte) (int, error) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if err := h.p.step(); err != nil {
		h.c.now = append(h.c.now, b[:len(b)/3]...)
		return len(b) / 3, err
	}
	h.c.now = append(h.c.now, b...)
	return len(b), nil
}

func (h *handle) Sync() error {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if err := h.p.step(); err != nil {
		return err
	}
	h.c.disk = bytes.Clone(h.c.now)
	return nil
}

func (h *handle) Close() error {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	return h.p.step()
}

// crashing is a witness on a platter.
func crashing(t *testing.T, p *platter, log *memoryLog, key *Key) *Witness {
	t.Helper()
	known := &catalogue{}
	known.set(origin, log.key.Verifier())
	w, err := Open(Config{Dir: "state", Key: key, Logs: known.logs, open: p.open})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var sizesOfCrash = []int64{5, 40, 40, 300}

// TestACrashAtAnyStepLosesNothingThatWasCosigned dies before each step of the disk while a log
// grows, with each fate of what was not synced. Whatever a client had in hand then, the witness
// still holds, and it refuses every other head.
func TestACrashAtAnyStepLosesNothingThatWasCosigned(t *testing.T) {
	log, key := newLog(newKey(origin), 300), must(NewKey(rand.Reader, "w"))
	other := log.forked(3, 300)
	crashes := 0
	for _, luck := range []string{"nothing", "all", "half"} {
		for step := 1; ; step++ {
			p := &platter{dieAt: step}
			w := crashing(t, p, log, key)
			answered, old := int64(0), int64(0)
			for _, size := range sizesOfCrash {
				a := w.Add(t.Context(), "", log.request(old, size))
				if a.Status != http.StatusOK {
					break
				}
				answered, old = size, size
			}
			if !p.dead {
				if answered != 300 || step < 20 {
					t.Fatalf("%d steps, %d answered: nothing was tested", step, answered)
				}
				break
			}
			crashes++
			if a := w.Add(t.Context(), "", log.request(answered, 300)); a.Status == http.StatusOK {
				t.Fatalf("step %d: a dead disk, and it cosigns", step)
			}
			again := crashing(t, p.restart(luck), log, key)
			held := int64(0)
			for _, h := range again.Heads() {
				if h.Err != nil {
					t.Fatalf("step %d, %s: %v", step, luck, h.Err)
				}
				held = h.Head.Size
			}
			if held < answered {
				t.Fatalf("step %d, %s: size %d was cosigned, and %d is held", step, luck, answered, held)
			}
			if held > 3 {
				for _, size := range []int64{held, 300} {
					if a := again.Add(t.Context(), "", other.request(held, size)); a.Status != http.StatusUnprocessableEntity {
						t.Fatalf("step %d, %s: a fork gets %d", step, luck, a.Status)
					}
				}
			}
			if a := again.Add(t.Context(), "", log.request(held, 300)); a.Status != http.StatusOK {
				t.Fatalf("step %d, %s: the log gets %d %s", step, luck, a.Status, a.Body)
			}
		}
	}
	if crashes < 50 {
		t.Errorf("%d crashes", crashes)
	}
}

// TestAFailedStoreGivesNoSignatureAndStopsTheLog fails each step of a store once.
func TestAFailedStoreGivesNoSignatureAndStopsTheLog(t *testing.T) {
	log, key := newLog(newKey(origin), 300), must(NewKey(rand.Reader, "w"))
	for step := 7; step <= 12; step++ { // the second store's
		p := &platter{failAt: step}
		w := crashing(t, p, log, key)
		if a := w.Add(t.Context(), "", log.request(0, 5)); a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		a := w.Add(t.Context(), "", log.request(5, 40))
		if a.Status != http.StatusInternalServerError || bytes.Contains(a.Body, []byte("—")) {
			t.Fatalf("step %d: %d %s", step, a.Status, a.Body)
		}
		if held := w.Heads()[0]; held.Head.Size != 5 || !errors.Is(held.Err, errInjected) {
			t.Fatalf("step %d: %+v", step, held)
		}
		for range 2 { // the disk is good again, but nobody has looked
			if a := w.Add(t.Context(), "", log.request(5, 40)); a.Status != http.StatusServiceUnavailable || !strings.Contains(string(a.Body), "read its head again") {
				t.Fatalf("step %d: %d %s", step, a.Status, a.Body)
			}
		}
		if err := w.Reread(t.Context(), origin); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		held := w.Heads()[0].Head.Size
		if held != 5 && held != 40 {
			t.Fatalf("step %d: %d", step, held)
		}
		if a := w.Add(t.Context(), "", log.request(held, 300)); a.Status != http.StatusOK {
			t.Fatalf("step %d: %d %s", step, a.Status, a.Body)
		}
	}
}

func TestAFailedFirstStoreIsReadAgainAsNothing(t *testing.T) {
	log, key := newLog(newKey(origin), 300), must(NewKey(rand.Reader, "w"))
	w := crashing(t, &platter{failAt: 3}, log, key)
	if a := w.Add(t.Context(), "", log.request(0, 5)); a.Status != 500 {
		t.Fatalf("%d", a.Status)
	}
	if err := w.Reread(t.Context(), origin); err != nil {
		t.Fatal(err)
	}
	if a := w.Add(t.Context(), "", log.request(0, 5)); a.Status != 200 {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if err := w.Reread(t.Context(), "somebody"); err == nil {
		t.Error("a log that is not known is read again")
	}
}

func TestWhatACrashLeavesUnfinishedIsSwept(t *testing.T) {
	dir := t.TempDir()
	d := must(openFolder(dir, true))
	defer d.Close()
	f := must(d.Create("a" + unfinished))
	fmt.Fprint(f, "half")
	f.Close()
	if err := replace(d, "b", []byte("whole")); err != nil {
		t.Fatal(err)
	}
	names, err := sweep(d)
	if err != nil || !slices.Equal(names, []string{"b"}) || !slices.Equal(must(d.Names()), []string{"b"}) {
		t.Errorf("%v %v", names, err)
	}
	if err := replace(d, "b", make([]byte, fileBytesMax+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("b"); err == nil {
		t.Error("a file of any size is read")
	}
}
