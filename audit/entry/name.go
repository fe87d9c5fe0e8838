package entry

import (
	"slices"
	"strconv"
)

func nameOf(names []string, n int, what string) string {
	if n < len(names) && names[n] != "" {
		return names[n]
	}
	return what + "_" + strconv.Itoa(n)
}

func numberOf(names []string, name string) (int, bool) {
	if n := slices.Index(names, name); n >= 0 && name != "" {
		return n, true
	}
	return 0, false
}

func named(names []string) (out []string) {
	for _, n := range names {
		if n != "" {
			out = append(out, n)
		}
	}
	return out
}
