package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CPUs is a set of processors by their numbers, in order.
type CPUs []int

// cpusMax is what the largest kernels are built for (NR_CPUS).
const cpusMax = 8192

// ParseCPUs reads the kernel's lists: 0-3,8 or 0-31:2/8 (2 of every 8), and with last, the
// highest number of this host, also "N" and "all". Such a list may be of another host: it
// names no more than cpusMax.
func ParseCPUs(text string, last int) (CPUs, error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "(null)" { // what kernels print for a set that was never made
		return nil, nil
	}
	var out CPUs
	for part := range strings.SplitSeq(text, ",") {
		if part == "all" {
			part = "0-N"
		}
		span, step, stepped := strings.Cut(part, ":")
		low, high, ranged := strings.Cut(span, "-")
		a, err := cpuNumber(low, last)
		b := a
		if err == nil && ranged {
			b, err = cpuNumber(high, last)
		}
		used, group := 1, 1
		if err == nil && stepped {
			used, group, err = cpuStep(step)
		}
		if err != nil || a > b {
			return nil, fmt.Errorf("%q is no list of CPUs as 0-3,8", text)
		}
		for n := a; n <= b; n++ {
			if (n-a)%group < used {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func cpuNumber(s string, last int) (int, error) {
	if s == "N" && last >= 0 {
		return last, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n >= cpusMax {
		return 0, strconv.ErrRange
	}
	return int(n), nil
}

func cpuStep(s string) (used, group int, err error) {
	u, g, _ := strings.Cut(s, "/")
	if used, err = cpuNumber(u, -1); err == nil {
		group, err = cpuNumber(g, -1)
	}
	if err != nil || used < 1 || group < used {
		return 0, 0, strconv.ErrRange
	}
	return used, group, nil
}

func (c CPUs) has(n int) bool { _, found := slices.BinarySearch(c, n); return found }

func (c CPUs) keep(want func(int) bool) (out CPUs) {
	for _, n := range c {
		if want(n) {
			out = append(out, n)
		}
	}
	return out
}

func (c CPUs) and(d CPUs) CPUs     { return c.keep(d.has) }
func (c CPUs) without(d CPUs) CPUs { return c.keep(func(n int) bool { return !d.has(n) }) }

func (c CPUs) or(d CPUs) CPUs {
	out := slices.Concat(c, d)
	slices.Sort(out)
	return slices.Compact(out)
}

// String is the kernel's form, which isolcpus= and CPUAffinity= take.
func (c CPUs) String() string {
	var parts []string
	for i := 0; i < len(c); {
		j := i
		for j+1 < len(c) && c[j+1] == c[j]+1 {
			j++
		}
		text := strconv.Itoa(c[i])
		if j > i {
			text += "-" + strconv.Itoa(c[j])
		}
		parts, i = append(parts, text), j+1
	}
	return strings.Join(parts, ",")
}
