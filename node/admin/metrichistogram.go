package admin

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"fire/transport/meter"
)

const (
	// nativeSchema 5 has 32 buckets per power of two: a bucket is 2.2 % wide, near the
	// meter's own 1.6 %, so little is lost and little is invented.
	nativeSchema = 5
	// nativeZero takes the samples below the meter's range.
	nativeZero = 100e-9
)

// classicBounds are the buckets of the text form: a 1-2.5-5 ladder from 1 us to 10 s.
var classicBounds = [...]time.Duration{
	1 * time.Microsecond, 2500 * time.Nanosecond, 5 * time.Microsecond,
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	1 * time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// histogram sends h as one series that is native and classic at once. An edge that
// has recorded nothing has no histogram.
func histogram(ch chan<- prometheus.Metric, d *prometheus.Desc, h meter.HistSnapshot, labels []string) {
	if h.Count() == 0 {
		return
	}
	native := map[int]int64{}
	for b, n := range h.Buckets() {
		native[nativeBucket(b.Middle())] += int64(n)
	}
	if h.Over() > 0 {
		native[nativeBucket(h.Quantile(1))] += int64(h.Over())
	}
	m, err := prometheus.NewConstNativeHistogram(d, h.Count(), h.Sum().Seconds(), native, nil, h.Under(),
		nativeSchema, nativeZero, time.Time{}, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	ch <- &bothForms{m, classic(h)}
}

// nativeBucket is the index i with 2^((i-1)/32) < seconds <= 2^(i/32).
func nativeBucket(v time.Duration) int {
	return int(math.Ceil(math.Log2(v.Seconds()) * (1 << nativeSchema)))
}

// classic counts cumulatively. A sample counts as its bucket's middle, as in Sum, so
// one at a bound may be off by the meter's 0.8 %.
func classic(h meter.HistSnapshot) []*dto.Bucket {
	out := make([]*dto.Bucket, 0, len(classicBounds))
	add := func(bound time.Duration, n uint64) {
		seconds := bound.Seconds()
		out = append(out, &dto.Bucket{UpperBound: &seconds, CumulativeCount: &n})
	}
	n := h.Under()
	next := 0
	for b, count := range h.Buckets() {
		for next < len(classicBounds) && b.Middle() > classicBounds[next] {
			add(classicBounds[next], n)
			next++
		}
		n += count
	}
	for _, bound := range classicBounds[next:] {
		add(bound, n)
	}
	return out
}

// bothForms adds classic buckets to a native histogram: scrapers of the protobuf
// form use the native ones, the text form shows the classic ones.
type bothForms struct {
	prometheus.Metric
	buckets []*dto.Bucket
}

func (b *bothForms) Write(out *dto.Metric) error {
	if err := b.Metric.Write(out); err != nil {
		return err
	}
	out.Histogram.Bucket = b.buckets
	return nil
}
