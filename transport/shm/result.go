package shm

// Result is what became of a message that was offered.
type Result int

const (
	Sent    Result = iota
	Full           // a reader of the lane is that far behind: nothing was written
	TooLong        // longer than MessageMax, or than a quarter of the ring
	Shut           // the gate is not open any more; Writer.State says why
	Busy           // of Calls: as many are in flight as may be
)

var resultNames = [...]string{"sent", "full", "too long", "shut", "busy"}

func (r Result) String() string {
	if r < 0 || int(r) >= len(resultNames) {
		return "unknown"
	}
	return resultNames[r]
}
