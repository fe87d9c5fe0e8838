package proxy

import (
	"io"
	"runtime"
	"testing"
)

// TestRelayAllocatesNothingPerMessage counts the allocations of the whole process:
// client, two proxies with QUIC between them, and the echoing application.
func TestRelayAllocatesNothingPerMessage(t *testing.T) {
	if raceOn {
		t.Skip("the race detector allocates")
	}
	_, h1, _ := pairOf(t, quick(), echoApp(t))
	c := h1.dial(t, "echo")
	msg := make([]byte, 256)
	trips := func(n int) {
		for range n {
			if _, err := c.Write(msg); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	trips(500) // pools fill
	const messages = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	trips(messages)
	runtime.ReadMemStats(&after)
	per := float64(after.Mallocs-before.Mallocs) / messages
	t.Logf("%.2f allocations, %.0f bytes per round trip", per, float64(after.TotalAlloc-before.TotalAlloc)/messages)
	// A round trip is two QUIC packets, and quic-go allocates twice for each: in
	// framer.AppendStreamFrames and in ReceiveStream.handleStreamFrame. None is ours.
	if per > 4.5 {
		t.Errorf("%.2f allocations per round trip through two proxies, quic-go's own are 4", per)
	}
}
