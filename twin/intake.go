package twin

import (
	"fmt"
	"time"

	"fire/policy/id"
	"fire/transport/meter"
)

// Bounds of one report. A node sends four a second, so honest ones stay far below.
const (
	deltasMax   = 8192
	sessionsMax = 4096
	reasonsMax  = 32
	countMax    = 1 << 40 // requests or bytes of one edge in one report: 1 TiB
	activeMax   = 1 << 31
	labelBytes  = 64
	rttMax      = time.Minute
)

// checkDelta says why a delta cannot be believed, or "".
func checkDelta(d *EdgeDelta) string {
	if _, err := id.ParseName(d.Src); err != nil {
		return "src: " + err.Error()
	}
	if _, err := id.ParseName(d.Dst); err != nil {
		return "dst: " + err.Error()
	}
	if d.Side == meter.OverflowKey.Side {
		return "the node's meter page is full: edges share one cell there"
	}
	if d.Side != SideOut && d.Side != SideIn {
		return fmt.Sprintf("side %q is neither out nor in", clip(d.Side))
	}
	if d.Peer != "" {
		if _, err := id.ParseName(d.Peer); err != nil {
			return "peer: " + err.Error()
		}
	}
	if !label(d.Protocol) {
		return "protocol is not a plain word"
	}
	for _, n := range [...]uint64{d.Requests, d.Errors, d.BytesOut, d.BytesIn, d.Opened, d.Closed, d.Refused} {
		if n > countMax {
			return fmt.Sprintf("count %d is beyond %d", n, uint64(countMax))
		}
	}
	if d.Active < 0 || d.Active > activeMax {
		return fmt.Sprintf("active %d is not possible", d.Active)
	}
	if len(d.Reasons) > reasonsMax {
		return fmt.Sprintf("%d reasons, at most %d", len(d.Reasons), reasonsMax)
	}
	for name, n := range d.Reasons {
		if name == "" || !label(name) { // a newer node may know reasons that this version does not
			return fmt.Sprintf("reason %q is not a plain word", clip(name))
		}
		if n > countMax {
			return fmt.Sprintf("count %d is beyond %d", n, uint64(countMax))
		}
	}
	if n := max(d.Latency.Count(), d.Connect.Count()); n > countMax {
		return fmt.Sprintf("%d samples are beyond %d", n, uint64(countMax))
	}
	return ""
}

// cleanSessions keeps the sessions that make sense.
func cleanSessions(in []SessionFact) (out []SessionFact, refused int) {
	if len(in) > sessionsMax {
		refused, in = len(in)-sessionsMax, in[:sessionsMax]
	}
	for _, s := range in {
		_, err := id.ParseName(s.Peer)
		if err != nil || !label(s.Class) || s.RTT < 0 || s.RTT > rttMax || s.Streams < 0 || s.Streams > activeMax {
			refused++
			continue
		}
		out = append(out, s)
	}
	return out, refused
}

// label: short, printable ASCII, no spaces; or empty.
func label(s string) bool {
	if len(s) > labelBytes {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func clip(s string) string {
	if len(s) > labelBytes {
		return s[:labelBytes]
	}
	return s
}
