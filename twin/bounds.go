package twin

import (
	"strings"
	"time"

	"fire/policy/id"
)

func legalName(s string) bool {
	_, err := id.ParseName(s)
	return err == nil
}

// bounded cuts s to at most n bytes of valid UTF-8 without control characters.
func bounded(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	s = strings.ToValidUTF8(s, "?")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// boundedOffset is how far a node's clock is ahead, at most a day either way; 0 when
// it does not say.
func boundedOffset(theirs, ours time.Time) time.Duration {
	if theirs.IsZero() {
		return 0
	}
	const day = 24 * time.Hour
	return max(-day, min(day, theirs.Round(0).Sub(ours.Round(0))))
}
