package witness

import (
	"fmt"
	"slices"
	"strings"

	"fire/audit/tlog"
)

// Named is a witness as a policy names it.
type Named struct {
	Name     string // one word of the policy file
	Verifier string
}

// PolicyText writes a policy (C2SP tlog-policy): a head is good when one of the log's keys has
// signed it and k of the witnesses. With k 0 no witness is needed, which a caller has to mean.
// torchwood v0.9 wants a signature of every log line; while a key is rotated, log with both.
func PolicyText(k int, logs []string, witnesses []Named) (string, error) {
	if k < 0 || k > len(witnesses) || len(logs) == 0 {
		return "", fmt.Errorf("witness: no policy of %d among %d witnesses and %d log keys", k, len(witnesses), len(logs))
	}
	var b strings.Builder
	for _, l := range logs {
		if len(strings.Fields(l)) != 1 || strings.Contains(l, "#") {
			return "", fmt.Errorf("witness: %q cannot stand in a policy", l)
		}
		fmt.Fprintf(&b, "log %s\n", strings.TrimSpace(l))
	}
	names := []string{}
	for _, w := range witnesses {
		for _, word := range []string{w.Name, w.Verifier} {
			if word != strings.TrimSpace(word) || len(strings.Fields(word)) != 1 || strings.Contains(word, "#") || word == "none" {
				return "", fmt.Errorf("witness: %q cannot stand in a policy", word)
			}
		}
		fmt.Fprintf(&b, "witness %s %s\n", w.Name, w.Verifier)
		names = append(names, w.Name)
	}
	quorum := "none"
	if k > 0 {
		for quorum = "quorum"; slices.Contains(names, quorum); {
			quorum += "-"
		}
		fmt.Fprintf(&b, "group %s %d %s\n", quorum, k, strings.Join(names, " "))
	}
	fmt.Fprintf(&b, "quorum %s\n", quorum)
	if _, err := tlog.ParsePolicy([]byte(b.String())); err != nil {
		return "", fmt.Errorf("witness: %w", err)
	}
	return b.String(), nil
}
