package bench

import (
	"bufio"
	"errors"
	"fmt"
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
