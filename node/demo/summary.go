package demo

import (
	"strconv"
	"strings"
)

// summary is "name: 12,345 orders, 12,300 fills"; underscores become spaces.
func summary(name string, counters []Counter) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteByte(':')
	for i, c := range counters {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte(' ')
		b.WriteString(thousands(c.Value))
		b.WriteByte(' ')
		b.WriteString(strings.ReplaceAll(c.Name, "_", " "))
	}
	return b.String()
}

func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
