package audit

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkDurable appends entries of 256 bytes from many goroutines, each of which waits until its
// own is durable and signed.
func BenchmarkDurable(b *testing.B) {
	for _, workers := range []int{64, 256, 2000} {
		b.Run(name(workers), func(b *testing.B) {
			w := benchWorld(b)
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			b.ResetTimer()
			start := time.Now()
			for g := range workers {
				all.Go(func() {
					e := fact(uint64(g), 1)
					for left.Add(-1) >= 0 {
						if _, err := w.Append(b.Context(), e); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "entries/s")
			b.ReportMetric(float64(w.State.Groups.Load())/time.Since(start).Seconds(), "groups/s")
			b.ReportMetric(float64(w.State.Bytes.Load())/float64(b.N), "bytes/entry")
		})
	}
}
