package frame

import (
	"encoding/binary"

	"fire/policy/id"
	"fire/policy/reason"
)

// Open opens a stream: which service is wanted and how.
type Open struct {
	Service        string // destination, a policy/id name
	Instance       string // the endpoint that the client's balancer picked; may be empty
	Protocol       uint8
	Class          uint8 // transport.Class
	ID             [16]byte
	Hops           uint8
	StartUnixNanos int64
	TraceParent    string // W3C traceparent; may be empty
}

const (
	openProtocol = 12
	openClass    = 13
	openHops     = 14
	openMinor    = 15
	openID       = 16
	openStart    = 32
	openService  = 40
	openInstance = 41
	openTrace    = 42
	openStrings  = 43

	instanceMax = 128
	traceMax    = 128
)

// AppendOpen appends o's bytes to b. On error b is returned as it was.
func AppendOpen(b []byte, o *Open) ([]byte, error) {
	if err := checkStrings(o.Service, o.Instance, o.TraceParent); err != nil {
		return b, err
	}
	from := len(b)
	b = appendPrefix(b, kindOpen, openStrings+len(o.Service)+len(o.Instance)+len(o.TraceParent))
	b = append(b, o.Protocol, o.Class, o.Hops, 0)
	b = append(b, o.ID[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(o.StartUnixNanos))
	b = append(b, byte(len(o.Service)), byte(len(o.Instance)), byte(len(o.TraceParent)))
	b = append(b, o.Service...)
	b = append(b, o.Instance...)
	b = append(b, o.TraceParent...)
	seal(b[from:])
	return b, nil
}

// ParseOpen reads the message at the start of b into o and returns its length.
// ErrShort asks for more bytes; any other error is a *reason.Error. o is changed
// only on success.
func ParseOpen(b []byte, o *Open) (int, error) {
	msg, err := whole(b, kindOpen, openStrings)
	if err != nil {
		return 0, err
	}
	s, i, t := int(msg[openService]), int(msg[openInstance]), int(msg[openTrace])
	rest := msg[openStrings:]
	if s+i+t > len(rest) {
		return 0, reason.New(reason.FrameMalformed, "strings of %d, %d and %d bytes in a header of %d", s, i, t, len(msg))
	}
	service := keep(o.Service, rest[:s])
	instance := keep(o.Instance, rest[s:s+i])
	trace := keep(o.TraceParent, rest[s+i:s+i+t])
	if err := checkStrings(service, instance, trace); err != nil {
		return 0, err
	}
	*o = Open{
		Service:        service,
		Instance:       instance,
		Protocol:       msg[openProtocol],
		Class:          msg[openClass],
		ID:             [16]byte(msg[openID:openStart]),
		Hops:           msg[openHops],
		StartUnixNanos: int64(binary.LittleEndian.Uint64(msg[openStart:])),
		TraceParent:    trace,
	}
	return len(msg), nil
}

// checkStrings holds the same rules at both ends.
func checkStrings(service, instance, trace string) error {
	if _, err := id.ParseName(service); err != nil {
		return reason.New(reason.FrameMalformed, "service %w", err)
	}
	if len(instance) > instanceMax || !printable(instance) {
		return reason.New(reason.FrameMalformed, "instance %.32q is not up to %d printable characters", instance, instanceMax)
	}
	if len(trace) > traceMax || !printable(trace) {
		return reason.New(reason.FrameMalformed, "traceparent %.32q is not up to %d printable characters", trace, traceMax)
	}
	return nil
}
