package meter

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

func newTestPage(t testing.TB, cells int) *Page {
	t.Helper()
	p, err := Create(filepath.Join(t.TempDir(), "meter.page"), cells)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLayoutMatchesTheDocument(t *testing.T) {
	var e Edge
	for name, pair := range map[string][2]uintptr{
		"opened":   {unsafe.Offsetof(e.Opened), cellOpened},
		"closed":   {unsafe.Offsetof(e.Closed), cellClosed},
		"refused":  {unsafe.Offsetof(e.Refused), cellRefused},
		"active":   {unsafe.Offsetof(e.Active), cellActive},
		"requests": {unsafe.Offsetof(e.Requests), cellRequests},
		"errors":   {unsafe.Offsetof(e.Errors), cellErrors},
		"out":      {unsafe.Offsetof(e.BytesOut), cellOut},
		"in":       {unsafe.Offsetof(e.BytesIn), cellIn},
		"last":     {unsafe.Offsetof(e.LastUnixNanos), cellLast},
		"reasons":  {unsafe.Offsetof(e.reasons), cellReasons},
		"latency":  {unsafe.Offsetof(e.Latency), cellLatency},
		"connect":  {unsafe.Offsetof(e.Connect), cellConnect},
		"cell":     {unsafe.Sizeof(e), cellBytes},
		"under":    {unsafe.Offsetof(e.Latency.under), histUnder},
		"over":     {unsafe.Offsetof(e.Latency.over), histOver},
		"oversum":  {unsafe.Offsetof(e.Latency.overSum), histOverSum},
		"buckets":  {unsafe.Offsetof(e.Latency.buckets), histBuckets},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s stands at %d, the layout says %d", name, pair[0], pair[1])
		}
	}
	for name, off := range map[string]int{"cell": cellBytes, "header": headerBytes, "counters": cellOpened,
		"requests": cellRequests, "reasons": cellReasons, "latency": cellLatency, "connect": cellConnect} {
		if off%128 != 0 {
			t.Errorf("%s at %d does not start a pair of cache lines", name, off)
		}
	}
	if bucketCount != 1703 {
		t.Errorf("doc.go says 1703 buckets, there are %d", bucketCount)
	}
}

func TestBucketsTileTheRange(t *testing.T) {
	next := uint64(rangeMin)
	for b := range bucketCount {
		lo, hi := bucketBounds(b)
		if lo != next || hi <= lo {
			t.Fatalf("bucket %d is [%d, %d), the one before ended at %d", b, lo, hi, next)
		}
		if bucketOf(lo) != b || bucketOf(hi-1) != b {
			t.Fatalf("bucket %d does not hold its own ends", b)
		}
		mid := float64(bucketMiddle(b))
		if (mid-float64(lo))/float64(lo) > 1.0/128 || (float64(hi-1)-mid)/float64(hi-1) > 1.0/128 {
			t.Fatalf("bucket %d, [%d, %d), is further than 1/128 from its middle %v", b, lo, hi, mid)
		}
		next = hi
	}
	if next <= rangeMax {
		t.Fatalf("buckets end at %d", next)
	}
}

// TestQuantileIsWithinOnePercent holds the documented bound, 1/128, for any sample.
func TestQuantileIsWithinOnePercent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Uint64Range(rangeMin, rangeMax), 1, 200).Draw(t, "ns")
		h := new(Histogram)
		var sum, low, high uint64 = 0, math.MaxUint64, 0
		for _, ns := range samples {
			h.Record(time.Duration(ns))
			sum, low, high = sum+ns, min(low, ns), max(high, ns)
		}
		s := h.Snapshot()
		if s.Count() != uint64(len(samples)) || s.Under() != 0 || s.Over() != 0 {
			t.Fatalf("count %d under %d over %d of %d samples", s.Count(), s.Under(), s.Over(), len(samples))
		}
		near := func(what string, got time.Duration, want uint64) {
			if d := math.Abs(float64(got)-float64(want)) / float64(want); d > 1.0/128 {
				t.Fatalf("%s: got %d, want %d: off by %.3f %%", what, got, want, d*100)
			}
		}
		near("q0", s.Quantile(0), low)
		near("q1", s.Quantile(1), high)
		near("sum", s.Sum(), sum)
	})
}

func TestOutsideTheRangeIsCountedApart(t *testing.T) {
	h := new(Histogram)
	for _, d := range []time.Duration{-time.Second, math.MinInt64, 0, 99, 100, 10 * time.Second, 10*time.Second + 1, time.Hour, math.MaxInt64} {
		h.Record(d)
	}
	s := h.Snapshot()
	if s.Under() != 4 || s.Over() != 3 || s.Count() != 9 {
		t.Fatalf("under %d over %d count %d", s.Under(), s.Over(), s.Count())
	}
	if s.Sum() != math.MaxInt64 {
		t.Fatalf("sum %d does not stop at the longest duration", s.Sum())
	}
	if got := new(Histogram).Snapshot(); got.Quantile(0.5) != 0 || got.Mean() != 0 || got.Sum() != 0 {
		t.Fatal("an empty histogram answers something")
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	e := newTestPage(t, 4).Edge(EdgeKey{"a", "b", "out"})
	d := time.Duration(0)
	if n := testing.AllocsPerRun(1000, func() {
		e.Latency.Record(d)
		e.Requests.Add(1)
		e.AddReason(uint16(d / 1000))
		d += 777
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// TestRecordCostsAFewAtomicAdds is a ratio, since the machine is shared: Record is
// one atomic add and some shifts.
func TestRecordCostsAFewAtomicAdds(t *testing.T) {
	if testing.Short() {
		t.Skip("timing")
	}
	const n = 2_000_000
	best := math.Inf(1)
	var word atomic.Uint64
	h := new(Histogram)
	for range 7 {
		t0 := time.Now()
		for range n {
			word.Add(1)
		}
		base := time.Since(t0)
		t0 = time.Now()
		for i := range n {
			h.Record(time.Duration(20_000 + i&1023))
		}
		best = min(best, float64(time.Since(t0))/float64(base))
	}
	if best > 4 && !raceEnabled {
		t.Fatalf("Record costs %.1f atomic adds, the budget is 4", best)
	}
}

func TestConcurrentRecordsAreAllCounted(t *testing.T) {
	p := newTestPage(t, 8)
	const writers, each = 8, 2000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range each {
				e := p.Edge(EdgeKey{"risk", "engine", "out"})
				e.Requests.Add(1)
				e.Latency.Record(time.Duration(rnd.Int64N(2e10)))
				e.AddReason(uint16(100 + i%40))
			}
		})
	}
	wg.Wait()
	s := p.Snapshot()
	if len(s) != 1 || s[0].Requests != writers*each || s[0].Latency.Count() != writers*each {
		t.Fatalf("%d edges, %d requests, %d latencies", len(s), s[0].Requests, s[0].Latency.Count())
	}
	var reasons uint64
	for _, n := range s[0].Reasons {
		reasons += n
	}
	if reasons != writers*each || s[0].Reasons[ReasonOther] == 0 {
		t.Fatalf("%d reasons counted, %d of them other", reasons, s[0].Reasons[ReasonOther])
	}
}

func TestFullPageGivesTheCountedOverflowCell(t *testing.T) {
	p := newTestPage(t, 2)
	for i := range 5 {
		p.Edge(EdgeKey{"a", fmt.Sprint("b", i), "in"}).Requests.Add(1)
	}
	edges := p.Snapshot()
	if len(edges) != 3 || edges[0].EdgeKey != OverflowKey || edges[0].Requests != 3 {
		t.Fatalf("got %+v", edges)
	}
	if f := p.Facts(); f.Spilled != 3 || f.Used != 3 || f.Cells != 3 {
		t.Fatalf("got %+v", f)
	}
	first := p.Edge(EdgeKey{"a", "b0", "in"})
	if again := p.Edge(EdgeKey{"a", "b0", "in"}); again != first {
		t.Fatal("the same edge has two cells")
	}
}

func TestPageFileIsPrivateToOwnerAndGroup(t *testing.T) {
	p := newTestPage(t, 2)
	info, err := os.Stat(p.Path())
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	rest, _ := filepath.Glob(filepath.Join(filepath.Dir(p.Path()), "*"))
	hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(p.Path()), ".*"))
	if len(rest)+len(hidden) != 1 {
		t.Fatalf("left behind: %v %v", rest, hidden)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p.Edge(EdgeKey{"late", "b", "in"}).Requests.Add(1) // must not fault
	if _, err := Open(p.Path()); !os.IsNotExist(err) && err == nil {
		t.Fatal("the page of a stopped process can still be opened")
	}
}

func TestCreateSaysWhatIsWrong(t *testing.T) {
	for _, cells := range []int{-1, 0, CellsMax} {
		if _, err := Create("", cells); err == nil {
			t.Errorf("%d cells were accepted", cells)
		}
	}
	if _, err := Create(filepath.Join(t.TempDir(), "none", "page"), 4); err == nil {
		t.Error("a page in no folder was made")
	}
}

func BenchmarkRecord(b *testing.B) {
	h := new(Histogram)
	i := 0
	for b.Loop() {
		h.Record(time.Duration(20_000 + i&1023))
		i++
	}
}

func BenchmarkSnapshotOfOneEdge(b *testing.B) {
	p, err := Create("", 2)
	if err != nil {
		b.Fatal(err)
	}
	e := p.Edge(EdgeKey{"a", "b", "out"})
	for i := range 1000 {
		e.Latency.Record(time.Duration(i) * 10 * time.Microsecond)
	}
	for b.Loop() {
		p.Snapshot()
	}
}

func TestPageOfALivingProcessIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h1.meter")
	first, err := Create(path, 4)
	if err != nil {
		t.Fatal(err)
	}
	first.Edge(EdgeKey{Src: "a", Dst: "b", Side: "out"}).Requests.Add(7)
	if _, err := Create(path, 4); err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("%v", err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if s, err := r.Snapshot(); err != nil || len(s) != 1 || s[0].Requests != 7 || !r.Alive() {
		t.Errorf("%+v, %v, alive %v", s, err, r.Alive())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	first.file.Close() // as the kernel does when the process is killed
	unmap(first.mem)
	if r.Alive() {
		t.Error("a page that nobody holds is alive")
	}
	reader, err := os.Open(path) // of a stranger who may read the page
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := errors.Join(syscall.Flock(int(reader.Fd()), syscall.LOCK_EX),
		syscall.FcntlFlock(reader.Fd(), 37, &syscall.Flock_t{Type: syscall.F_RDLCK})); err != nil {
		t.Fatal(err)
	}
	second, err := Create(path, 4)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(filepath.Dir(path), "other.meter")
	if err := errors.Join(os.Rename(path, other), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("a page has removed another's: %v", err)
	}
	if second, err = Create(path, 4); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	}
}
