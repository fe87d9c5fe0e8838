package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const sysCPU = "/sys/devices/system/cpu"

// topology says how two cores are related, as the kernel tells it, and names their SMT
// siblings: what runs there takes from the figures.
func topology(sys string, cores [2]int) string {
	read := func(core int, file string) string {
		b, err := os.ReadFile(filepath.Join(sys, fmt.Sprintf("cpu%d", core), "topology", file))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	siblings := [2]string{read(cores[0], "thread_siblings_list"), read(cores[1], "thread_siblings_list")}
	if siblings[0] == "" {
		return "unknown"
	}
	if listed(siblings[0], cores[1]) {
		return fmt.Sprintf("SMT siblings of one core (%s): latencies are those of one core's cache, not of two cores", siblings[0])
	}
	how := "two cores of one socket"
	if a, b := read(cores[0], "physical_package_id"), read(cores[1], "physical_package_id"); a != b {
		how = "two sockets"
	}
	named := ""
	for i, core := range cores {
		if list := siblings[i]; list != "" && list != strconv.Itoa(core) {
			named += fmt.Sprintf(", %d is one of the SMT siblings %s", core, list)
		}
	}
	if named == "" {
		named = ", without SMT siblings"
	}
	return how + named
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
