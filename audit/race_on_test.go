//go:build race

package audit

// raceOn: the detector makes what tries thousands of states many times as slow, and finds nothing in
// what one goroutine does.
const raceOn = true
