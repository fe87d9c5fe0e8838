package witness

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"fire/audit/tlog"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

const origin = "eu.floor/audit/host-1"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// memoryLog is a log in memory that keeps the levels that a log keeps.
type memoryLog struct {
	mu     sync.Mutex
	key    *tlog.Key
	leaves []tlog.Hash
	hashes map[[2]int64]tlog.Hash
	f      tlog.Frontier
	edge   tlog.Frontier
}

func newLog(key *tlog.Key, size int64) *memoryLog {
	l := &memoryLog{key: key, hashes: map[[2]int64]tlog.Hash{}}
	l.grow(size, "")
	return l
}

func newKey(name string) *tlog.Key { return must(tlog.NewKey(rand.Reader, name)) }

// grow adds entries up to size; with another what they are other ones.
func (l *memoryLog) grow(size int64, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.f.Size() < size {
		l.add(tlog.Leaf(fmt.Appendf(nil, "%s%d", what, l.f.Size())))
	}
}

func (l *memoryLog) add(leaf tlog.Hash) {
	l.leaves = append(l.leaves, leaf)
	l.f.Add(leaf, func(level int, n int64, h tlog.Hash) {
		if level%tlog.TileHeight == 0 {
			l.hashes[[2]int64{int64(level), n}] = h
		}
	})
}

// copy is a log with the first size entries of l.
func (l *memoryLog) copy(size int64) *memoryLog {
	out := newLog(l.key, 0)
	for _, h := range l.leaves[:size] {
		out.add(h)
	}
	return out
}

// forked has l's first entries and then others.
func (l *memoryLog) forked(at, size int64) *memoryLog {
	out := l.copy(at)
	out.grow(size, "other ")
	return out
}

func (l *memoryLog) Kept(level int, n int64) (tlog.Hash, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.hashes[[2]int64{int64(level), n}]
	return h, ok, nil
}

func (l *memoryLog) Edge() *tlog.Frontier { return &l.edge }

func (l *memoryLog) Head() (tlog.Head, []byte) {
	l.mu.Lock()
	h := tlog.Head{Origin: l.key.Origin(), Size: l.f.Size(), Root: l.f.Root()}
	l.mu.Unlock()
	return h, must(tlog.Sign(h, l.key))
}

// at is the head that the log had at a size.
func (l *memoryLog) at(size int64) (tlog.Head, []byte) {
	h := tlog.Head{Origin: l.key.Origin(), Size: size, Root: must(tlog.RootAt(l, size))}
	return h, must(tlog.Sign(h, l.key))
}

// request is the body that leads from one size to another.
func (l *memoryLog) request(old, size int64) []byte {
	h, checkpoint := l.at(size)
	return (&request{old: old, proof: must(tlog.ProveGrowth(l, h, old)), checkpoint: checkpoint}).format()
}

// catalogue names logs and their keys; both change at any time.
type catalogue struct {
	mu   sync.Mutex
	keys map[string][]string
}

func (c *catalogue) set(origin string, vkeys ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		c.keys = map[string][]string{}
	}
	c.keys[origin] = vkeys
}

func (c *catalogue) logs(origin string) ([]string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.keys[origin]
	return k, ok
}

// world is a log and a witness behind a real server.
type world struct {
	*Witness
	cfg      Config
	known    *catalogue
	log      *memoryLog
	server   *httptest.Server
	reported []Evidence
	mu       sync.Mutex
}

func newWorld(t *testing.T, size int64) *world {
	t.Helper()
	w := &world{known: &catalogue{}, log: newLog(newKey(origin), size)}
	w.known.set(origin, w.log.key.Verifier())
	w.cfg = Config{Dir: t.TempDir(), Key: must(NewKey(rand.Reader, "eu.floor/witness/host-2")), Logs: w.known.logs, Report: w.report}
	w.start(t)
	return w
}

func (w *world) report(e Evidence) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reported = append(w.reported, e)
}

func (w *world) told() []Evidence {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.reported)
}

func (w *world) start(t *testing.T) {
	t.Helper()
	var err error
	if w.Witness, err = Open(w.cfg); err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(w.Witness)
	old, server := w.Witness, w.server
	t.Cleanup(func() { server.Close(); old.Close() })
}

func (w *world) restart(t *testing.T) {
	t.Helper()
	w.server.Close()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.start(t)
}

// post is one request over HTTP.
func (w *world) post(t *testing.T, body []byte) (int, string, string) {
	t.Helper()
	resp, err := http.Post(w.server.URL+"/add-checkpoint", "text/plain", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(answer)
}

// expect posts and wants a status, and a body with say in it that is one line.
func (w *world) expect(t *testing.T, what string, body []byte, status int, say string) {
	t.Helper()
	got, kind, answer := w.post(t, body)
	if got != status || !strings.Contains(answer, say) || strings.Count(answer, "\n") != 1 || !strings.HasSuffix(answer, "\n") {
		t.Errorf("%s: %d %q; want %d and %q", what, got, answer, status, say)
	}
	if (kind == "text/x.tlog.size") != (status == http.StatusConflict) {
		t.Errorf("%s: content type %q", what, kind)
	}
	if status == http.StatusOK {
		_, checkpoint, _ := bytes.Cut(body, []byte("\n\n"))
		if err := cosignedBy(w.cfg.Key, append(checkpoint, answer...)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// cosignedBy verifies as torchwood does.
func cosignedBy(k *Key, checkpoint []byte) error {
	v := must(torchwood.NewCosignatureVerifier(k.Verifier()))
	n, err := note.Open(checkpoint, note.VerifierList(v))
	if err != nil {
		return err
	}
	if at, err := torchwood.CosignatureTimestamp(n.Sigs[0]); err != nil || at == 0 {
		return fmt.Errorf("cosigned at %d (%v)", at, err)
	}
	return nil
}

// signText signs any text as a log would.
func signText(t *testing.T, text string, k *tlog.Key) []byte {
	t.Helper()
	return must(note.Sign(&note.Note{Text: text}, must(note.NewSigner(k.Secret()))))
}
