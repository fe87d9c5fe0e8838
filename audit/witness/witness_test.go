package witness

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fire/audit/tlog"
)

func TestAGrowingLogIsCosigned(t *testing.T) {
	w := newWorld(t, 1000)
	old := int64(0)
	for _, size := range []int64{0, 1, 7, 7, 256, 300, 1000, 1000} {
		w.expect(t, fmt.Sprintf("%d to %d", old, size), w.log.request(old, size), http.StatusOK, "— eu.floor/witness/host-2 ")
		old = size
	}
	held := w.Heads()
	if len(held) != 1 || held[0].Head.Size != 1000 || held[0].Head.Origin != origin || held[0].Err != nil {
		t.Errorf("held: %+v", held)
	}
}

func TestEachStatusOfTheProtocol(t *testing.T) {
	w := newWorld(t, 600)
	w.expect(t, "first", w.log.request(0, 300), http.StatusOK, "")
	other := newLog(newKey("eu.floor/audit/host-9"), 10)
	stranger := &memoryLog{key: newKey(origin), hashes: w.log.hashes, f: w.log.f}
	h400, good := w.log.at(400)
	proof := must(tlog.ProveGrowth(w.log, h400, 300))
	body := func(old int64, proof []tlog.Hash, checkpoint []byte) []byte {
		return (&request{old: old, proof: proof, checkpoint: checkpoint}).format()
	}
	edited := bytes.Replace(good, []byte("\n400\n"), []byte("\n401\n"), 1)
	wrong := append([]tlog.Hash{{1}}, proof[1:]...)
	unsigned, _, _ := bytes.Cut(good, []byte("—"))
	rows := []struct {
		what   string
		body   []byte
		status int
		say    string
	}{
		{"nothing", nil, 400, "no empty line"},
		{"no old", []byte("new 300\n\n" + string(good)), 400, `"old N"`},
		{"old with a zero", []byte("old 0300\n\n" + string(good)), 400, `"old N"`},
		{"old below zero", []byte("old -1\n\n" + string(good)), 400, `"old N"`},
		{"no hash", []byte("old 300\nAAAA\n\n" + string(good)), 400, "line 2 is no hash"},
		{"64 hashes", body(300, make([]tlog.Hash, 64), good), 400, "64 hashes, 63 are allowed"},
		{"no origin", []byte("old 300\n\n\n"), 400, "no origin"},
		{"no note", []byte("old 300\n\n" + origin + "\n400\n"), 400, "malformed checkpoint"},
		{"old larger than size", body(500, nil, good), 400, "old size 500 is larger"},
		{"unknown log", other.request(0, 10), 404, `no log "eu.floor/audit/host-9"`},
		{"unknown key", body(300, proof, must2(stranger.at(400))), 403, "by a key that is not known"},
		{"edited", body(300, proof, edited), 403, "was changed"},
		{"not signed", body(300, proof, unsigned), 403, "no signature"},
		{"stale", body(299, proof, good), 409, "300\n"},
		{"nothing known", body(0, nil, good), 409, "300\n"},
		{"an older head again", w.log.request(0, 100), 409, "300\n"},
		{"wrong proof", body(300, wrong, good), 422, "does not lead from size 300 to 400"},
		{"short proof", body(300, proof[1:], good), 422, "does not lead"},
		{"no proof", body(300, nil, good), 422, "does not lead"},
		{"63 hashes", body(300, make([]tlog.Hash, 63), good), 422, "does not lead"},
		{"a proof of nothing", body(300, proof, must2(w.log.at(300))), 422, "where none is due"},
		{"good", body(300, proof, good), 200, "— eu.floor/witness/host-2 "},
	}
	for _, row := range rows {
		w.expect(t, row.what, row.body, row.status, row.say)
	}
	large := append(body(300, proof, good), make([]byte, RequestBytesMax)...)
	w.expect(t, "too large", large, 413, "65536 bytes")
	if a := w.Add(t.Context(), "", large); a.Status != 413 {
		t.Errorf("too large, not over HTTP: %d", a.Status)
	}
	if resp := must(http.Get(w.server.URL + "/add-checkpoint")); resp.StatusCode != 405 {
		t.Errorf("GET: %d", resp.StatusCode)
	}
}

func must2(_ tlog.Head, checkpoint []byte) []byte { return checkpoint }

func TestAFirstHeadNeedsNoProofAndTakesNone(t *testing.T) {
	w := newWorld(t, 20)
	h, checkpoint := w.log.at(20)
	w.expect(t, "with a proof", (&request{proof: make([]tlog.Hash, 1), checkpoint: checkpoint}).format(), 422, "where none is due")
	none := tlog.Head{Origin: origin, Root: h.Root}
	w.expect(t, "a root of nothing", (&request{checkpoint: must(tlog.Sign(none, w.log.key))}).format(), 422, "size 0")
	w.expect(t, "from 1", w.log.request(1, 20), 409, "0\n")
	w.expect(t, "from 0", w.log.request(0, 20), 200, "")
}

func TestATextInAnotherFormIsNotCosigned(t *testing.T) {
	w := newWorld(t, 20)
	h, _ := w.log.at(20)
	root := base64.StdEncoding.EncodeToString(h.Root[:])
	bent := root[:42] + string(root[42]+1) + "=" // other bits after the end: the same hash
	if b, err := base64.StdEncoding.DecodeString(bent); err != nil || !bytes.Equal(b, h.Root[:]) {
		t.Fatal(bent)
	}
	checkpoint := signText(t, fmt.Sprintf("%s\n20\n%s\n", origin, bent), w.log.key)
	w.expect(t, "bent", (&request{checkpoint: checkpoint}).format(), 400, "canonical form")
	w.expect(t, "extended", (&request{checkpoint: signText(t, fmt.Sprintf("%s\n20\n%s\nand more\n", origin, root), w.log.key)}).format(), 200, "")
}

func TestKeysOfALogChangeWithOverlap(t *testing.T) {
	w := newWorld(t, 100)
	w.expect(t, "old key", w.log.request(0, 10), 200, "")
	before := w.log.key
	w.log.key = newKey(origin)
	w.expect(t, "new key too early", w.log.request(10, 20), 403, "by a key that is not known")
	w.known.set(origin, before.Verifier(), w.log.key.Verifier())
	w.expect(t, "new key", w.log.request(10, 20), 200, "")
	w.known.set(origin, w.log.key.Verifier())
	w.log.key = before
	w.expect(t, "old key too late", w.log.request(20, 30), 403, "by a key that is not known")
	w.known.set(origin, "not a key")
	w.expect(t, "an unreadable catalogue", w.log.request(20, 30), 500, "cannot be read")
}

func TestTheMonitorsPrefixServesWhatWasCosigned(t *testing.T) {
	w := newWorld(t, 100)
	url := w.server.URL + "/" + fileOf(origin) + "/checkpoint"
	if resp := must(http.Get(url)); resp.StatusCode != 404 {
		t.Errorf("before the first: %d", resp.StatusCode)
	}
	w.expect(t, "first", w.log.request(0, 50), 200, "")
	w.restart(t)
	resp := must(http.Get(w.server.URL + "/" + fileOf(origin) + "/checkpoint"))
	body := must(io.ReadAll(resp.Body))
	head, err := must(tlog.NewVerifiers(w.log.key.Verifier())).Open(body)
	if resp.StatusCode != 200 || err != nil || head.Size != 50 || cosignedBy(w.cfg.Key, body) != nil {
		t.Errorf("%d %q: %v", resp.StatusCode, body, err)
	}
}

func TestARestartedWitnessKnowsWhatItHasCosigned(t *testing.T) {
	w := newWorld(t, 100)
	w.expect(t, "first", w.log.request(0, 50), 200, "")
	w.restart(t)
	w.expect(t, "from 0", w.log.request(0, 60), 409, "50\n")
	w.expect(t, "a fork", w.log.forked(20, 60).request(50, 60), 422, "does not lead")
	w.expect(t, "growth", w.log.request(50, 60), 200, "")
	if _, err := Open(w.cfg); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second process has the same folder: %v", err)
	}
}

func TestADamagedFileCostsOneLog(t *testing.T) {
	w := newWorld(t, 100)
	other := newLog(newKey("eu.floor/audit/host-3"), 100)
	w.known.set(other.key.Origin(), other.key.Verifier())
	w.expect(t, "first", w.log.request(0, 50), 200, "")
	w.expect(t, "other", other.request(0, 50), 200, "")
	path := filepath.Join(w.cfg.Dir, "heads", fileOf(origin)+headSuffix)
	good := must(os.ReadFile(path))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, _, err := unpackHead(bad); err == nil {
			t.Fatalf("byte %d of a head's file can be changed", i)
		}
	}
	if err := os.WriteFile(path, bytes.Replace(good, []byte("\n50\n"), []byte("\n10\n"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	w.expect(t, "the damaged one", w.log.request(50, 60), 503, "until this witness has read its head again")
	if held := w.Heads()[0]; held.Err == nil || !strings.Contains(held.Err.Error(), fileOf(origin)) || !strings.Contains(held.Err.Error(), "it was changed") {
		t.Errorf("%+v", held)
	}
	w.expect(t, "the other one", other.request(50, 60), 200, "")
	if err := w.Reread(t.Context(), origin); err == nil {
		t.Error("a damaged file is read again as good")
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.Reread(t.Context(), origin); err != nil {
		t.Error(err)
	}
	w.expect(t, "mended", w.log.request(50, 60), 200, "")
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.Reread(t.Context(), origin); err == nil || !strings.Contains(err.Error(), "size 60 was cosigned") {
		t.Errorf("an older file is taken: %v", err)
	}
	w.expect(t, "set back", w.log.request(50, 70), 503, "until this witness has read its head again")
}

func TestBoundsOnLogsAndRequests(t *testing.T) {
	w := newWorld(t, 100)
	w.cfg.LogsMax, w.cfg.RequestsMax = 2, 3
	w.restart(t)
	for i := range 3 {
		l := newLog(newKey(fmt.Sprintf("eu.floor/audit/host-1%d", i)), 5)
		w.known.set(l.key.Origin(), l.key.Verifier())
		status, say := 200, ""
		if i == 2 {
			status, say = 503, "2 logs already"
		}
		w.expect(t, l.key.Origin(), l.request(0, 5), status, say)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	w.cfg.Logs = func(string) ([]string, bool) { entered <- struct{}{}; <-leave; return nil, false }
	w.restart(t)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { w.post(t, w.log.request(0, 5)) })
		<-entered
	}
	w.expect(t, "the fourth", w.log.request(0, 5), 503, "3 requests are being answered")
	if a := w.Add(t.Context(), "", w.log.request(0, 5)); a.Status != 503 {
		t.Errorf("the fourth, not over HTTP: %d", a.Status)
	}
	close(leave)
	all.Wait()
}

// TestRacingRequestsNeverSetALogBack has many clients send heads of one log at once: each answer
// of 200 is of a head that is not smaller than any that was answered before it was sent.
func TestRacingRequestsNeverSetALogBack(t *testing.T) {
	w := newWorld(t, 400)
	var all sync.WaitGroup
	var mu sync.Mutex
	largest, won := int64(0), 0
	for i := range int64(8) {
		all.Go(func() {
			for size := 1 + i; size <= 400; size += 16 {
				mu.Lock()
				before := largest
				mu.Unlock()
				if before >= size {
					continue
				}
				status, _, answer := w.post(t, w.log.request(before, size))
				mu.Lock()
				switch status {
				case 200:
					largest, won = max(largest, size), won+1
				case 409:
					if now := must(parseSize(strings.TrimSpace(answer))); now < before {
						t.Errorf("size %d was answered, and then %d is held", before, now)
					}
				default:
					t.Errorf("%d: %s", status, answer)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if held := w.Heads()[0].Head.Size; held != largest || won < 2 {
		t.Errorf("size %d is held, %d was answered, %d times", held, largest, won)
	}
	if len(w.Evidence()) != 0 {
		t.Errorf("an honest log is accused: %+v", w.Evidence())
	}
}

func TestAWaitForTheTurnEndsWithItsRequest(t *testing.T) {
	w := newWorld(t, 10)
	w.expect(t, "first", w.log.request(0, 5), 200, "")
	h := must(w.Witness.log(origin, false))
	if err := h.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := w.Add(ctx, "", w.log.request(5, 6)); a.Status != 503 || !strings.Contains(string(a.Body), "takes too long") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if err := w.Reread(ctx, origin); err == nil {
		t.Error("Reread does not wait for the turn")
	}
	h.give()
}

func TestAKeyOfAWitnessIsReadAsItWasWritten(t *testing.T) {
	for range 64 {
		k := must(NewKey(rand.Reader, "eu.floor/witness/host-2"))
		again, err := ReadKey(k.Secret() + "\n")
		if err != nil || again.Verifier() != k.Verifier() || again.Name() != k.Name() {
			t.Fatalf("%v %v", again, err)
		}
	}
	log := newKey(origin)
	k := must(NewKey(rand.Reader, "w"))
	for _, bad := range []string{"", log.Secret(), k.Verifier(), strings.Replace(k.Secret(), "+w+", "+v+", 1), k.Secret() + "A"} {
		if _, err := ReadKey(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := NewKey(rand.Reader, "a b"); err == nil {
		t.Error("a name with a space is taken")
	}
	if strings.Contains(fmt.Sprintf("%v %+v %s", k, k, k), "PRIVATE") {
		t.Error("a key that is printed shows its secret")
	}
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := Open(Config{Dir: t.TempDir()}); err == nil {
		t.Error("no key is needed")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: file, Key: must(NewKey(rand.Reader, "w")), Logs: (&catalogue{}).logs}); err == nil {
		t.Error("a file is taken as a folder")
	}
}

func TestARequestThatEndsEarlyIsRefused(t *testing.T) {
	w := newWorld(t, 10)
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/add-checkpoint", io.MultiReader(strings.NewReader("old 0\n"), failing{}))
	w.ServeHTTP(rec, r)
	if rec.Code != 400 || !strings.Contains(rec.Body.String(), "ends early") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzParseRequest(f *testing.F) {
	l := newLog(newKey(origin), 50)
	f.Add(l.request(0, 10))
	f.Add(l.request(10, 50))
	f.Add([]byte("old 0\n\n\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseRequest(body)
		if err == nil && !bytes.Equal(r.format(), body) {
			t.Fatalf("%q is written again as %q", body, r.format())
		}
		if err == nil && (len(r.proof) > ProofHashesMax || r.origin == "" || r.old < 0) {
			t.Fatalf("%+v", r)
		}
	})
}

// FuzzAdd sends anything: it is never cosigned, since nobody has the key, and never takes the
// witness down.
func FuzzAdd(f *testing.F) {
	l := newLog(newKey(origin), 50)
	dir := f.TempDir()
	other := newKey(origin)
	w := must(Open(Config{Dir: dir, Key: must(NewKey(rand.Reader, "w")), Logs: func(string) ([]string, bool) { return []string{other.Verifier()}, true }}))
	defer w.Close()
	f.Add(l.request(0, 10))
	f.Add(l.request(10, 50))
	f.Fuzz(func(t *testing.T, body []byte) {
		a := w.Add(t.Context(), "fuzz", body)
		if a.Status == 200 || bytes.Count(a.Body, []byte("\n")) != 1 {
			t.Fatalf("%d %q", a.Status, a.Body)
		}
	})
}
