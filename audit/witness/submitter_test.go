package witness

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fire/audit/tlog"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// floor is a log and n witnesses behind real servers.
type floor struct {
	log       *memoryLog
	known     *catalogue
	witnesses []*world
	cfg       SubmitterConfig
}

func newFloor(t *testing.T, size int64, n, k int) *floor {
	t.Helper()
	f := &floor{log: newLog(newKey(origin), size), known: &catalogue{}}
	f.known.set(origin, f.log.key.Verifier())
	var named []Named
	f.cfg = SubmitterConfig{Log: f.log, File: filepath.Join(t.TempDir(), "sub", "cosigned"), Every: time.Millisecond, WaitMax: 4 * time.Millisecond, Timeout: time.Minute}
	for i := range n {
		w := &world{known: f.known, log: f.log}
		w.cfg = Config{Dir: t.TempDir(), Key: must(NewKey(rand.Reader, fmt.Sprintf("eu.floor/witness/host-%d", i+2))), Logs: f.known.logs, Report: w.report}
		w.start(t)
		f.witnesses = append(f.witnesses, w)
		named = append(named, Named{w.cfg.Key.Name(), w.cfg.Key.Verifier()})
		f.cfg.Peers = append(f.cfg.Peers, Peer{fmt.Sprintf("host-%d", i+2), w.cfg.Key.Verifier(), OverHTTP(http.DefaultTransport, w.server.URL+"/")})
	}
	f.cfg.Policy = must(PolicyText(k, []string{f.log.key.Verifier()}, named))
	return f
}

// run starts a submitter; the test's end, or stop, waits for it.
func (f *floor) run(t *testing.T) (s *Submitter, stop func()) {
	t.Helper()
	s, err := NewSubmitter(f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// await polls, for as long as the test may last.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func size(s *Submitter) int64 { h, _ := s.Cosigned(); return h.Size }

func status(s *Submitter, i int) PeerStatus { all, _ := s.Status(); return all[i] }

func TestHeadsAreCosignedAsTheLogGrows(t *testing.T) {
	f := newFloor(t, 0, 3, 2)
	s, stop := f.run(t)
	theirs := must(torchwood.ParsePolicy([]byte(f.cfg.Policy)))
	for _, n := range []int64{1, 2, 255, 256, 700} {
		f.log.grow(n, "")
		await(t, fmt.Sprintf("size %d is cosigned", n), func() bool { return size(s) == n })
		h, checkpoint := s.Cosigned()
		if want, _ := f.log.at(n); h != want {
			t.Errorf("%+v", h)
		}
		if _, _, err := torchwood.VerifyCheckpoint(checkpoint, theirs); err != nil {
			t.Error(err)
		}
	}
	await(t, "all three have", func() bool {
		_, c := s.Cosigned()
		return len(s.policy.Signers(c)) == 4
	})
	peers, problem := s.Status()
	for _, p := range peers {
		if p.Size != 700 || p.Err != nil || p.Time.IsZero() || p.Failures != 0 || p.Forgot != 0 {
			t.Errorf("%+v", p)
		}
	}
	stop()
	_, checkpoint := s.Cosigned()
	if problem != nil || !bytes.Equal(must(os.ReadFile(f.cfg.File)), checkpoint) {
		t.Errorf("the file is not the newest cosigned head (%v)", problem)
	}
	again := must(NewSubmitter(f.cfg))
	if h, c := again.Cosigned(); h.Size != 700 || !bytes.Equal(c, checkpoint) {
		t.Errorf("after a restart %+v", h)
	}
}

func TestOneSlowWitnessDelaysNoOther(t *testing.T) {
	f := newFloor(t, 1, 3, 2)
	entered := make(chan struct{}, 1)
	f.cfg.Peers[0].Send = func(ctx context.Context, _ []byte) (int, string, []byte, error) {
		signal(entered)
		<-ctx.Done()
		return 0, "", nil, ctx.Err()
	}
	s, _ := f.run(t)
	<-entered
	for n := int64(2); n < 40; n++ { // all while the first request is not answered
		f.log.grow(n, "")
		await(t, fmt.Sprintf("size %d is cosigned", n), func() bool { return size(s) == n && status(s, 1).Size == n && status(s, 2).Size == n })
	}
	if p := status(s, 0); p.Failures != 0 || p.Size != 0 {
		t.Errorf("the slow one: %+v", p)
	}
}

func TestAWitnessThatHangsIsGivenUpAndTriedAgain(t *testing.T) {
	f := newFloor(t, 5, 1, 1)
	f.cfg.Timeout = 2 * time.Millisecond
	good, calls := f.cfg.Peers[0].Send, atomic.Int32{}
	f.cfg.Peers[0].Send = func(ctx context.Context, body []byte) (int, string, []byte, error) {
		if calls.Add(1) < 4 {
			<-ctx.Done()
			return 0, "", nil, ctx.Err()
		}
		return good(context.WithoutCancel(ctx), body)
	}
	s, _ := f.run(t)
	await(t, "cosigned after three failures", func() bool { return size(s) == 5 && status(s, 0).Err == nil })
}

// TestTwoSlowWitnessesMeetAtOneHead lets both be needed, and each be late while the log grows: if
// each took the newest head when it is free, they would never cosign the same one.
func TestTwoSlowWitnessesMeetAtOneHead(t *testing.T) {
	f := newFloor(t, 1, 3, 3)
	gates, entered := []chan struct{}{make(chan struct{}), make(chan struct{})}, [2]atomic.Int32{}
	for i, g := range gates {
		good := f.cfg.Peers[i].Send
		f.cfg.Peers[i].Send = func(ctx context.Context, body []byte) (int, string, []byte, error) {
			entered[i].Add(1)
			select {
			case <-g:
			case <-ctx.Done():
			}
			return good(ctx, body)
		}
	}
	s, _ := f.run(t)
	n := int64(1)
	for turn := range int32(30) { // two new heads before each turn of either
		await(t, "it is asked", func() bool { return entered[turn%2].Load() > turn/2 })
		for range 2 {
			n++
			f.log.grow(n, "")
			await(t, "the third has it", func() bool { return status(s, 2).Size == n })
		}
		gates[turn%2] <- struct{}{}
	}
	await(t, "they have met lately", func() bool { return size(s) > n-8 })
}

func TestWhatIsCosignedLateDoesNotSetTheHeadBack(t *testing.T) {
	f := newFloor(t, 10, 0, 0)
	s := must(NewSubmitter(f.cfg))
	s.look()
	f.log.grow(20, "")
	s.look()
	s.settle(s.targets[0])
	if size(s) != 20 {
		t.Errorf("after 20 %d is offered", size(s))
	}
}

func TestASubmitterLearnsWhatAWitnessHolds(t *testing.T) {
	f := newFloor(t, 300, 1, 1)
	f.witnesses[0].expect(t, "before", f.log.request(0, 50), 200, "")
	calls := atomic.Int32{}
	good := f.cfg.Peers[0].Send
	f.cfg.Peers[0].Send = func(ctx context.Context, body []byte) (int, string, []byte, error) {
		calls.Add(1)
		return good(ctx, body)
	}
	s, _ := f.run(t)
	await(t, "cosigned", func() bool { return size(s) == 300 })
	f.log.grow(301, "")
	await(t, "cosigned", func() bool { return size(s) == 301 })
	if n := calls.Load(); n != 3 { // told 50, then 300, then 301 at once
		t.Errorf("%d requests", n)
	}
}

func TestTheLastCosignedHeadOutlivesAStricterPolicy(t *testing.T) {
	f := newFloor(t, 40, 3, 2)
	s, stop := f.run(t)
	await(t, "cosigned", func() bool { return size(s) == 40 })
	stop()
	loose := f.cfg.Policy
	_, kept := s.Cosigned()
	two := bytes.Join(bytes.SplitAfter(kept, []byte("\n"))[:7], nil) // the log's and two cosignatures
	if err := os.WriteFile(f.cfg.File, two, 0o600); err != nil {
		t.Fatal(err)
	}
	f.cfg.Policy = strings.Replace(loose, "group quorum 2", "group quorum 3", 1)
	strict := must(NewSubmitter(f.cfg))
	if _, c := strict.Cosigned(); c != nil {
		t.Error("a head with two cosignatures is offered where three are needed")
	}
	if h, c := strict.Remembered(); h.Size != 40 || !bytes.Equal(c, two) {
		t.Errorf("remembered: %+v", h)
	}
	for name, data := range map[string][]byte{
		"half":        two[:len(two)/2],
		"edited":      bytes.Replace(two, []byte("\n40\n"), []byte("\n20\n"), 1),
		"another log": must2(newLog(newKey("x"), 9).at(9)),
	} {
		if err := os.WriteFile(f.cfg.File, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewSubmitter(f.cfg); err == nil || !strings.Contains(err.Error(), f.cfg.File) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALogThatWasReplacedByAnOlderCopyIsSeenAtBothEnds(t *testing.T) {
	f := newFloor(t, 100, 2, 1)
	s, stop := f.run(t)
	await(t, "cosigned by both", func() bool { return size(s) == 100 && status(s, 0).Size == 100 && status(s, 1).Size == 100 })
	stop()
	_, before := s.Cosigned()
	f.log = f.log.copy(80)
	f.cfg.Log = f.log
	s, stop = f.run(t)
	behind := func(i int) func() bool {
		return func() bool { return errors.Is(status(s, i).Err, ErrBehind) && len(f.witnesses[i].Evidence()) == 1 }
	}
	await(t, "the first says so", behind(0))
	await(t, "the second says so", behind(1))
	if e := f.witnesses[0].Evidence()[0]; e.Misdeed != MisdeedShrunk || e.Check(f.log.key.Verifier()) != nil {
		t.Errorf("%+v", e)
	}
	if _, problem := s.Status(); problem == nil || !strings.Contains(problem.Error(), "replaced by an older copy: it ends at 80, and 100 was remembered") {
		t.Errorf("%v", problem)
	}
	h, checkpoint := s.Remembered()
	if found, err := VerifyAgainst(f.log, must(headOf(f.log)), h); err != nil || found.Relation != Replaced {
		t.Errorf("%v %v", found, err)
	}
	f.log.grow(200, "other ") // and goes on as something else
	refused := func() bool { return errors.Is(status(s, 0).Err, ErrRefused) && errors.Is(status(s, 1).Err, ErrRefused) }
	await(t, "both refuse the rest", refused)
	stop()
	if now := must(os.ReadFile(f.cfg.File)); !bytes.Equal(now, before) || !bytes.Equal(checkpoint, before) {
		t.Error("the remembered head was replaced")
	}
	if e := f.witnesses[0].Evidence(); len(e) != 2 || e[1].Misdeed != MisdeedUnproven {
		t.Errorf("%+v", e)
	}
}

func headOf(l *memoryLog) (tlog.Head, error) { h, _ := l.Head(); return h, nil }

// TestNewWitnessesDoNotMakeAForkGood: they have never seen the log, but the file has.
func TestNewWitnessesDoNotMakeAForkGood(t *testing.T) {
	f := newFloor(t, 100, 1, 1)
	s, stop := f.run(t)
	await(t, "cosigned", func() bool { return size(s) == 100 })
	stop()
	g := newFloor(t, 0, 1, 1)
	g.log = f.log.forked(50, 200)
	g.known.set(origin, g.log.key.Verifier())
	g.cfg.Log, g.cfg.File = g.log, f.cfg.File
	g.cfg.Policy = must(PolicyText(0, []string{g.log.key.Verifier()}, nil))
	s, _ = g.run(t)
	await(t, "the fork is seen", func() bool {
		_, p := s.Status()
		return p != nil && strings.Contains(p.Error(), "forked at or before entry 99")
	})
	if size(s) != 100 {
		t.Errorf("a fork of size %d is offered", size(s))
	}
}

func TestAPolicyThatNeedsNobodyIsMetAtOnce(t *testing.T) {
	f := newFloor(t, 30, 0, 0)
	s, _ := f.run(t)
	await(t, "offered", func() bool { return size(s) == 30 })
}

func TestALogThatSignsWithAnotherKeyIsTold(t *testing.T) {
	f := newFloor(t, 30, 1, 1)
	f.log.key = newKey(origin)
	s, _ := f.run(t)
	await(t, "told", func() bool {
		_, p := s.Status()
		return errors.Is(p, tlog.ErrWrongKey) && errors.Is(status(s, 0).Err, ErrRefused)
	})
	if size(s) != 0 || !strings.Contains(status(s, 0).Err.Error(), "status 403") {
		t.Errorf("%+v", status(s, 0))
	}
}

func TestWhatAWitnessAnswersIsNotBelieved(t *testing.T) {
	other := must(NewKey(rand.Reader, "eu.floor/witness/host-2"))
	f := newFloor(t, 30, 1, 1)
	_, checkpoint := f.log.at(30)
	_, own, _ := must(tlog.NewVerifiers(f.log.key.Verifier())).OpenNote(checkpoint)
	line := func(k *Key, text string) string {
		return string(lastLine(must(note.Sign(&note.Note{Text: text}, k.signer))))
	}
	mine := f.witnesses[0].cfg.Key
	less := strings.Replace(own.Text, "\n30\n", "\n29\n", 1)
	size := "text/x.tlog.size"
	rows := map[string]struct {
		status       int
		kind, answer string
		say          string
	}{
		"nothing":                            {200, "", "", "not good"},
		"no signature":                       {200, "", "hello\n", "not good"},
		"another witness":                    {200, "", line(other, own.Text), "not good"},
		"of another head":                    {200, "", line(mine, less), "not good"},
		"another note":                       {200, "", "\n" + less + "\n" + line(mine, own.Text), ""},
		"409 without type":                   {409, "text/plain", "5\n", "no size"},
		"409 without size":                   {409, size, "many\n", "no size"},
		"409 and more":                       {409, size, "5\n6\n", "no size"},
		"409 below zero":                     {409, size, "-5\n", "no size"},
		"409 with the same":                  {409, size, "0\n", "refuses a proof from there"},
		"409 with a parameter, that changes": {409, size + "; charset=utf-8", "CHANGES", "changed between two requests"},
		"404":                                {404, "text/plain", "no log\x1b[31m\nsecond line", "status 404: no log [31m second line"},
		"500":                                {500, "", strings.Repeat("x", 9000), "status 500: xxx"},
		"a redirect":                         {302, "", "", "status 302"},
		"too much":                           {200, "", strings.Repeat("x", answerBytesMax+1), "more than 16384 bytes"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			calls := 0
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				calls++
				rw.Header().Set("Content-Type", row.kind)
				rw.Header().Set("Location", "/elsewhere")
				rw.WriteHeader(row.status)
				fmt.Fprint(rw, strings.Replace(row.answer, "CHANGES", fmt.Sprintf("%d\n", 3+calls%2), 1))
			}))
			defer server.Close()
			cfg := f.cfg
			cfg.File = filepath.Join(t.TempDir(), "cosigned")
			cfg.Peers = []Peer{{"w", mine.Verifier(), OverHTTP(http.DefaultTransport, server.URL)}}
			s := must(NewSubmitter(cfg))
			s.look()
			err := s.offer(t.Context(), s.peers[0], s.targets[0])
			if err == nil || !strings.Contains(err.Error(), row.say) || strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 1000 || calls > 2 {
				t.Errorf("%v after %d requests; want %q", err, calls, row.say)
			}
			if len(s.targets[0].lines) != 0 {
				t.Error("it counts as a cosignature")
			}
		})
	}
	good := line(other, own.Text) + line(mine, own.Text) // unknown ones are passed over
	got, err := (&peer{verifier: must(torchwood.NewCosignatureVerifier(mine.Verifier()))}).cosignature(own.Text, []byte(good))
	if err != nil || !strings.HasPrefix(good, line(other, own.Text)[:20]) || !strings.HasSuffix(good, got) {
		t.Errorf("%q %v", got, err)
	}
}

func TestAWitnessThatWasSetBackIsShown(t *testing.T) {
	f := newFloor(t, 50, 1, 1)
	var now atomic.Pointer[Witness]
	now.Store(f.witnesses[0].Witness)
	f.cfg.Peers[0].Send = func(ctx context.Context, body []byte) (int, string, []byte, error) { // as over a stream of the mesh
		a := now.Load().Add(ctx, "host-1", body)
		return a.Status, a.Type, a.Body, nil
	}
	s, _ := f.run(t)
	await(t, "cosigned", func() bool { return size(s) == 50 && status(s, 0).Size == 50 })
	w := f.witnesses[0]
	old := must(os.ReadFile(filepath.Join(w.cfg.Dir, "heads", fileOf(origin)+headSuffix)))
	f.log.grow(90, "")
	await(t, "cosigned", func() bool { return size(s) == 90 && status(s, 0).Size == 90 })
	w.server.Close()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.cfg.Dir, "heads", fileOf(origin)+headSuffix), old, 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := Open(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	now.Store(set)
	f.log.grow(120, "")
	await(t, "cosigned", func() bool { return size(s) == 120 })
	if p := status(s, 0); p.Forgot != 90 {
		t.Errorf("%+v", p)
	}
}

func TestAFailingDiskDelaysNoCosignature(t *testing.T) {
	f := newFloor(t, 50, 1, 1)
	p := &platter{failAt: 3}
	f.cfg.open = p.open
	s, stop := f.run(t)
	await(t, "cosigned", func() bool { return size(s) == 50 })
	await(t, "written at the second try", func() bool {
		d, _ := p.open(filepath.Dir(f.cfg.File))
		raw, err := d.Read(filepath.Base(f.cfg.File))
		_, c := s.Cosigned()
		_, problem := s.Status()
		return err == nil && bytes.Equal(raw, c) && problem == nil
	})
	p.mu.Lock()
	p.failAt = p.steps + 1
	p.mu.Unlock()
	f.log.grow(60, "")
	await(t, "cosigned", func() bool { return size(s) == 60 })
	stop()
	p.mu.Lock()
	steps := p.steps
	p.mu.Unlock()
	if steps < 15 {
		t.Errorf("%d steps of the disk", steps)
	}
}

func TestGrowthThatWasPrunedIsTold(t *testing.T) {
	f := newFloor(t, 400, 1, 1)
	f.witnesses[0].expect(t, "before", f.log.request(0, 50), 200, "")
	for i := range int64(300) {
		f.log.edge.Add(f.log.leaves[i], nil)
		delete(f.log.hashes, [2]int64{0, i})
	}
	delete(f.log.hashes, [2]int64{8, 0})
	s, _ := f.run(t)
	await(t, "told", func() bool {
		e := status(s, 0).Err
		return e != nil && strings.Contains(e.Error(), "the log begins at 300")
	})
}

func TestBackOffGrowsToItsBound(t *testing.T) {
	s := &Submitter{cfg: SubmitterConfig{Every: 10 * time.Hour, WaitMax: 1000 * time.Hour}}
	for failures, want := range map[int]time.Duration{0: 10, 1: 10, 2: 20, 4: 80, 8: 1000, 1 << 30: 1000} {
		if got := s.backOff(failures); got > want*time.Hour || got < want*time.Hour*3/4 {
			t.Errorf("after %d failures %v", failures, got)
		}
	}
}

func TestWhatIsOnOfferIsBounded(t *testing.T) {
	f := newFloor(t, 1, 1, 1)
	f.cfg.Peers[0].Send = func(context.Context, []byte) (int, string, []byte, error) { return 0, "", nil, errors.New("away") }
	s := must(NewSubmitter(f.cfg))
	for n := range int64(100) {
		f.log.grow(n, "")
		s.look()
		s.look()
	}
	if len(s.targets) != targetsMax || s.targets[targetsMax-1].head.Size != 99 || s.targets[0].head.Size != 99-targetsMax+1 {
		t.Errorf("%d heads, the newest of size %d", len(s.targets), s.targets[len(s.targets)-1].head.Size)
	}
}

func TestASubmitterChecksWhatItIsGiven(t *testing.T) {
	f := newFloor(t, 1, 1, 1)
	bad := f.cfg
	bad.Policy = "quorum none\n"
	if _, err := NewSubmitter(bad); err == nil {
		t.Error("a policy without a log is taken")
	}
	bad = f.cfg
	bad.Peers = []Peer{{"w", f.log.key.Verifier(), nil}}
	if _, err := NewSubmitter(bad); err == nil || !strings.Contains(err.Error(), "witness w") {
		t.Errorf("a log's key is taken as a witness's: %v", err)
	}
}
