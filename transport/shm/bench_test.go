package shm

import "testing"

// BenchmarkOffer is the writer alone, of a broadcast that nobody reads.
func BenchmarkOffer(b *testing.B) {
	for _, size := range []int{48, 64, 1024} {
		b.Run(sizeName(size), func(b *testing.B) {
			c := newBenchChannel(b, Broadcast)
			p := make([]byte, size)
			b.ReportAllocs()
			for b.Loop() {
				c.w.Offer(1, p)
			}
		})
	}
}

// BenchmarkPoll is the reader alone: a lane that is filled while the clock stands.
func BenchmarkPoll(b *testing.B) {
	for _, size := range []int{48, 64, 1024} {
		b.Run(sizeName(size), func(b *testing.B) {
			c := newBenchChannel(b, Lane)
			r, _ := c.reader(0)
			p := make([]byte, size)
			n := 0
			each := func(uint16, []byte) {}
			b.ReportAllocs()
			for n < b.N {
				b.StopTimer()
				for c.w.Offer(1, p) == Sent {
				}
				b.StartTimer()
				got, _, _ := r.Poll(1<<20, each)
				n += got
			}
		})
	}
}
