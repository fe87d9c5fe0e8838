package transport

import "strconv"

// Class keeps traffic of different manners on different connections, so that nothing
// bulky ever paces an order.
type Class uint8

const (
	ClassControl Class = 1 // catalogue, identity, telemetry
	ClassOrder   Class = 2 // small and urgent
	ClassBulk    Class = 3 // large and patient
)

// Valid tells whether c is one of the three.
func (c Class) Valid() bool { return c >= ClassControl && c <= ClassBulk }

// String is "control", "order" or "bulk".
func (c Class) String() string {
	switch c {
	case ClassControl:
		return "control"
	case ClassOrder:
		return "order"
	case ClassBulk:
		return "bulk"
	}
	return "class_" + strconv.Itoa(int(c))
}
