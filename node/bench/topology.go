package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// topology says how two cores are related, as the kernel tells it.
func topology(cores [2]int) string {
	read := func(core int, file string) string {
		b, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/%s", core, file))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	siblings := read(cores[0], "thread_siblings_list")
	if siblings == "" {
		return "unknown"
	}
	if listed(siblings, cores[1]) {
		return "SMT siblings of one core: latencies are those of one core's cache, not of two cores"
	}
	if a, b := read(cores[0], "physical_package_id"), read(cores[1], "physical_package_id"); a != b {
		return "two sockets"
	}
	return "two cores of one socket"
}

// listed tells whether n is in a list such as 0-3,8.
func listed(list string, n int) bool {
	for _, part := range strings.Split(list, ",") {
		low, high, ranged := strings.Cut(part, "-")
		a, err := strconv.Atoi(low)
		b := a
		if err == nil && ranged {
			b, err = strconv.Atoi(high)
		}
		if err == nil && n >= a && n <= b {
			return true
		}
	}
	return false
}
