//go:build race

package policy

const raceEnabled = true // the detector slows memory accesses by unequal factors, so ratios mean nothing
