package catalog

import (
	"bytes"

	"fire/policy/reason"
)

// Bounds of the shape of a message, looked at before it is decoded: two bytes of JSON
// make one element of a list, and that may be hundreds of bytes of memory. A megabyte
// of "0," in a report cost 750 MiB.
const (
	depthMax        = 32
	bytesPerElement = 128 // of the direction's bound: 8,192 elements to control, 131,072 to a node
)

// crowded refuses lists with too many elements and nesting that is too deep. What is no
// JSON is left to the decoder.
func crowded(body []byte, max int) error {
	most := max / bytesPerElement
	var list [depthMax]bool
	var commas [depthMax]int
	depth := 0
	for i := 0; i < len(body); i++ {
		switch c := body[i]; c {
		case '"':
			i = stringEnd(body, i+1)
		case '[', '{':
			if depth == depthMax {
				return reason.New(reason.FrameMalformed, "control message is nested deeper than %d", depthMax)
			}
			list[depth], commas[depth] = c == '[', 0
			depth++
		case ']', '}':
			if depth--; depth < 0 {
				return nil
			}
		case ',':
			if depth == 0 || !list[depth-1] {
				continue
			}
			if commas[depth-1]++; commas[depth-1] >= most {
				return reason.New(reason.FrameOversized, "control message has a list of more than %d elements", most)
			}
		}
	}
	return nil
}

// stringEnd is where the string ends whose content starts at i: at its closing quote.
func stringEnd(body []byte, i int) int {
	for i < len(body) {
		n := bytes.IndexAny(body[i:], `"\`)
		if n < 0 {
			break
		}
		if i += n; body[i] == '"' {
			return i
		}
		i += 2
	}
	return len(body)
}
