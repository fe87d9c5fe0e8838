package policy

import (
	"strings"

	"fire/policy/id"
)

// didYouMean is `; did you mean "X"?` for the nearest known word within two edits,
// or nothing.
func didYouMean(word string, known ...string) string {
	best, bestEdits := "", 3
	for _, k := range known {
		if n := edits(word, k); n < bestEdits && n < len(k) {
			best, bestEdits = k, n
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean \"" + best + "\"?"
}

// lowerHint helps with the two usual slips in a name.
func lowerHint(s string) string {
	fixed := strings.ReplaceAll(strings.ToLower(s), "_", "-")
	switch {
	case s == "any" || s == "all" || s == "":
		return "; \"*\" stands for any"
	case fixed != s && isName(fixed):
		return "; did you mean \"" + fixed + "\"?"
	}
	return ""
}

func isName(s string) bool {
	_, err := id.ParseName(s)
	return err == nil
}

// edits counts insertions, deletions, substitutions and swaps of neighbours between
// two short words (optimal string alignment). Words far apart in length are far apart.
func edits(a, b string) int {
	const wordBytesMax = 64
	if len(a) > wordBytesMax || len(b) > wordBytesMax {
		return wordBytesMax
	}
	var rows [3][wordBytesMax + 1]int
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
