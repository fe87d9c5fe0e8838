package meter

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyHist draws a snapshot through Record, so that it is one a process can have.
func anyHist(t *rapid.T, name string) (HistSnapshot, []int64) {
	samples := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(0, 200), rapid.Int64Range(0, 20_000_000_000)), 0, 60).Draw(t, name)
	h := new(Histogram)
	for _, ns := range samples {
		h.Record(time.Duration(ns))
	}
	return h.Snapshot(), samples
}

func TestMergeAndSubAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, sa := anyHist(t, "a")
		b, sb := anyHist(t, "b")
		both := new(Histogram)
		for _, ns := range append(append([]int64(nil), sa...), sb...) {
			both.Record(time.Duration(ns))
		}
		m, keep := a, a
		m.Merge(b)
		if !m.Equal(both.Snapshot()) {
			t.Fatal("merging two snapshots is not the snapshot of both")
		}
		if !m.Sub(a).Equal(b) || !m.Sub(b).Equal(a) || !m.Sub(HistSnapshot{}).Equal(m) {
			t.Fatal("Sub does not undo Merge")
		}
		if !keep.Equal(a) || m.Count() != a.Count()+b.Count() {
			t.Fatal("Merge changed its operand")
		}
	})
}

func TestSubAfterARestartCountsWhatTheNewProcessHas(t *testing.T) {
	old, fresh := new(Histogram), new(Histogram)
	for range 9 {
		old.Record(time.Millisecond)
	}
	fresh.Record(time.Millisecond)
	if d := fresh.Snapshot().Sub(old.Snapshot()); d.Count() != 1 {
		t.Fatalf("count %d", d.Count())
	}
}

func TestQuantilesNeverFall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, _ := anyHist(t, "h")
		last := time.Duration(-1)
		for q := -0.1; q <= 1.1; q += 0.05 {
			if v := h.Quantile(q); v < last {
				t.Fatalf("q%.2f = %d is below %d", q, v, last)
			} else {
				last = v
			}
		}
	})
}

func TestBucketsYieldEverySampleInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, _ := anyHist(t, "h")
		var n uint64
		last := time.Duration(0)
		for b, c := range h.Buckets() {
			if b.Low < last || b.Middle() < b.Low || b.Middle() >= b.High {
				t.Fatalf("bucket %v after %v", b, last)
			}
			n, last = n+c, b.High
		}
		if n+h.Under()+h.Over() != h.Count() {
			t.Fatalf("buckets hold %d of %d", n, h.Count())
		}
	})
}

func TestJSONIsSparseAndRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, _ := anyHist(t, "h")
		b, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		var back HistSnapshot
		if err := json.Unmarshal(b, &back); err != nil || !back.Equal(h) {
			t.Fatalf("%s: %v", b, err)
		}
	})
	h := new(Histogram)
	h.Record(50)
	h.Record(time.Microsecond)
	h.Record(time.Microsecond)
	h.Record(1020 * time.Nanosecond)
	b, _ := json.Marshal(h.Snapshot())
	if want := `{"under":1,"gaps":[217,2],"n":[2,1]}`; string(b) != want {
		t.Fatalf("got %s, want %s", b, want)
	}
}

func FuzzHistJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `{"under":1,"gaps":[214,2],"n":[2,1]}`, `{"gaps":[0,0],"n":[1,1]}`,
		`{"gaps":[1702,1],"n":[1,1]}`, `{"gaps":[1],"n":[]}`, `{"gaps":[1],"n":[0]}`, `{"over":18446744073709551615,"over_sum_ns":18446744073709551615}`,
		`{"gaps":[1700,1],"n":[18446744073709551615,18446744073709551615]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h HistSnapshot
		if json.Unmarshal(b, &h) != nil {
			return
		}
		exercise(t, h)
		again, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		var back HistSnapshot
		if err := json.Unmarshal(again, &back); err != nil || !back.Equal(h) {
			t.Fatalf("%s does not come back: %v", again, err)
		}
	})
}

// exercise calls every method on a snapshot of unknown origin.
func exercise(t *testing.T, h HistSnapshot) {
	t.Helper()
	m := h
	m.Merge(h)
	if m.Count() < h.Count() || m.Sub(h).Count() > m.Count() {
		t.Fatalf("count %d became %d", h.Count(), m.Count())
	}
	for _, q := range []float64{-1, 0, 0.5, 0.999, 1, 2} {
		if h.Quantile(q) < 0 {
			t.Fatalf("q%v is negative", q)
		}
	}
	if h.Sum() < 0 || h.Mean() < 0 {
		t.Fatal("sum or mean is negative")
	}
}
