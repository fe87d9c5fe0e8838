package http1

import "encoding/hex"

// TraceParentBytes is the length of a version 00 traceparent.
const TraceParentBytes = 55

// goodTraceParent checks a traceparent by W3C Trace Context section 3.2.2. A newer
// version may carry more after the parts we know.
func goodTraceParent(v []byte) bool {
	if len(v) < TraceParentBytes || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return false
	}
	version, trace, parent, flags := v[:2], v[3:35], v[36:52], v[53:55]
	if !lowerHex(version) || !lowerHex(trace) || !lowerHex(parent) || !lowerHex(flags) || string(version) == "ff" {
		return false
	}
	if len(v) > TraceParentBytes && (string(version) == "00" || v[TraceParentBytes] != '-') {
		return false
	}
	return !zeros(trace) && !zeros(parent)
}

// AppendTraceParent appends a new version 00 traceparent made of random bytes. It
// is not marked as sampled: the proxy records no spans.
func AppendTraceParent(dst []byte, random [24]byte) []byte {
	random[0] |= 1 // an all-zero trace id or parent id is not valid
	random[16] |= 1
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, random[:16])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, random[16:])
	return append(dst, "-00"...)
}

func lowerHex(b []byte) bool {
	for _, c := range b {
		if classes[c]&hexRaw == 0 || c >= 'A' && c <= 'F' {
			return false
		}
	}
	return true
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}
