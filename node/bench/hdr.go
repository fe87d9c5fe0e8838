package bench

import (
	"bufio"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go" // the field's format for latencies: its plotters and tools read what is written here
)

// hdr is the histogram in HdrHistogram's form, three digits, in nanoseconds.
func (h *nanos) hdr() *hdrhistogram.Histogram {
	out := hdrhistogram.New(1, 1<<nanosTop, 3)
	for i, n := range h.bucket {
		if n > 0 {
			_ = out.RecordValues(int64(min(nanosUpper(i), h.max, 1<<nanosTop)), int64(n)) // it is in range
		}
	}
	return out
}

// encoded is the V2 compressed form in base 64, which HdrHistogram reads in every language.
func (h *nanos) encoded() string {
	b, err := h.hdr().Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return "" // a buffer in memory takes everything
	}
	return string(b)
}

// Histogram is a distribution as JSON has it: the counts of all buckets are the total.
type Histogram struct {
	Total   uint64            `json:"total"`
	Buckets []HistogramBucket `json:"buckets"` // those that are not empty, by value
}

// HistogramBucket counts what lies above the bucket before and at most at its value.
type HistogramBucket struct {
	ValueNS int64  `json:"value_ns"`
	Count   uint64 `json:"count"`
}

// told has 128 buckets for each doubling everywhere, also where nanos is exact: the bound is
// the same, and a row is some hundred buckets and not thousands.
func (h *nanos) told() *Histogram {
	out := &Histogram{Total: h.count}
	for i, n := range h.bucket {
		if n == 0 {
			continue
		}
		v := nanosUpper(i)
		if top := bits.Len64(v) - 1; top > 7 {
			v |= 1<<(top-7) - 1
		}
		v = min(v, h.max)
		if last := len(out.Buckets) - 1; last >= 0 && out.Buckets[last].ValueNS == int64(v) {
			out.Buckets[last].Count += n
			continue
		}
		out.Buckets = append(out.Buckets, HistogramBucket{int64(v), n})
	}
	return out
}

// WritePercentiles writes a file for each row that has latencies, as HdrHistogram's plotter
// reads it, and returns how many. The directory is made.
func WritePercentiles(dir string, rows []RingRow) (files int, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("directory for histograms: %w", err)
	}
	for i := range rows {
		r := &rows[i]
		if r.latency.count == 0 {
			continue
		}
		if err := r.writePercentiles(filepath.Join(dir, r.fileName())); err != nil {
			return files, fmt.Errorf("histogram of %s: %w", r.Table, err)
		}
		files++
	}
	return files, nil
}

func (r *RingRow) fileName() string {
	name := r.Table + "-" + r.Path
	if r.SizeBytes > 0 {
		name += fmt.Sprintf("-%dB", r.SizeBytes)
	}
	return strings.NewReplacer(", ", "-", " ", "-", "/", "-").Replace(name) + ".hgrm"
}

func (r *RingRow) writePercentiles(name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	if _, err := r.latency.hdr().PercentilesPrint(w, 5, 1); err != nil {
		return err
	}
	return w.Flush()
}
