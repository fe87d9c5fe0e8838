package entry

// Tag names a field.
type Tag uint8

// The fields. A number is never used again for something else.
const (
	// which way
	Flow      Tag = 1 // 16 bytes: the connection, the same at both proxies
	Hop       Tag = 2 // "client-proxy", "server-proxy", "ring"
	Direction Tag = 3 // "up": from the client, or the publisher; "down"
	Service   Tag = 4 // whose traffic it is: the client, the caller, the publisher
	Peer      Tag = 5 // the service at the other end
	Principal Tag = 6 // SPIFFE id that was proved
	Node      Tag = 7 // the host at the other end
	Channel   Tag = 8 // of a direct path
	Protocol  Tag = 9
	Rule      Tag = 10 // that decided
	Bundle    Tag = 11 // hash of the rules that decided
	Reason    Tag = 12 // number of policy/reason
	Trace     Tag = 13 // 16 bytes, from a traceparent: the caller's word

	// a message
	Digest    Tag = 20 // SHA-256 of the bytes that came in; of the redacted ones where Sealed is there
	DigestOut Tag = 21 // and that went out, where they differ
	Size      Tag = 22 // bytes of the message
	MsgType   Tag = 23 // 35
	SeqNum    Tag = 24 // 34
	Sender    Tag = 25 // 49
	Target    Tag = 26 // 56
	ClOrdID   Tag = 27 // 11
	OrigID    Tag = 28 // 41
	OrderID   Tag = 29 // 37
	ExecID    Tag = 30 // 17
	Symbol    Tag = 31 // 55
	ExecType  Tag = 32 // 150
	OrdStatus Tag = 33 // 39
	SentAt    Tag = 34 // 52, as it stands there
	FirstSent Tag = 35 // 122
	Marks     Tag = 36 // bits: see the Mark constants
	NewSeqNum Tag = 37 // 36
	Trail     Tag = 38 // NoHops: "comp@time#ref" of each, joined by ","
	Content   Tag = 39 // the message, personal values overwritten
	Whole     Tag = 40 // bytes of all its content, where Part entries follow

	// messages by count
	First   Tag = 50
	Last    Tag = 51
	Count   Tag = 52
	Chain   Tag = 53 // SHA-256 over the chain before and the messages
	Elapsed Tag = 54 // nanoseconds

	// who did what
	Actor   Tag = 60 // user, and where from
	Verb    Tag = 61
	Object  Tag = 62
	Before  Tag = 63 // digest or version
	After   Tag = 64
	Result  Tag = 65
	Detail  Tag = 66
	Process Tag = 67 // pid
	User    Tag = 68 // uid
	Program Tag = 69 // executable
	Unit    Tag = 70 // of systemd
	Link    Tag = 71 // of a direct path's lane
	Version Tag = 72 // of the catalogue

	// the clock
	Offset     Tag = 80 // nanoseconds, signed
	Frequency  Tag = 81 // parts per billion, signed
	Stratum    Tag = 82
	Reference  Tag = 83 // what the clock follows
	Dispersion Tag = 84 // nanoseconds

	// personal values
	Subject Tag = 90 // 16 bytes: whose key seals them
	Sealed  Tag = 91 // AES-256-GCM: nonce, then the values with their FIX tags, and the digest of the whole
)

// Mark bits say what kind of copy a FIX message is.
const (
	MarkPossDup    = 1 << 0 // 43=Y
	MarkPossResend = 1 << 1 // 97=Y
	MarkGapFill    = 1 << 2 // 123=Y
	MarkReset      = 1 << 3 // 141=Y, or a SequenceReset that is no gap fill
	MarkGarbled    = 1 << 4 // not a message that can be read: the bytes alone are kept
)

type form uint8

const (
	text   form = iota + 1
	octets      // shown in hex
	blob        // shown in base64
	unsigned
	signed
)

// fields say how each is called and written.
var fields = [256]struct {
	name string
	form form
}{
	Flow: {"flow", octets}, Hop: {"hop", text}, Direction: {"direction", text}, Service: {"service", text}, Peer: {"peer", text},
	Principal: {"principal", text}, Node: {"node", text}, Channel: {"channel", text}, Protocol: {"protocol", text}, Rule: {"rule", text},
	Bundle: {"bundle", octets}, Reason: {"reason", unsigned}, Trace: {"trace_id", octets},
	Digest: {"digest", octets}, DigestOut: {"digest_out", octets}, Size: {"bytes", unsigned}, MsgType: {"msg_type", text}, SeqNum: {"msg_seq_num", unsigned},
	Sender: {"sender", text}, Target: {"target", text}, ClOrdID: {"cl_ord_id", text}, OrigID: {"orig_cl_ord_id", text}, OrderID: {"order_id", text},
	ExecID: {"exec_id", text}, Symbol: {"symbol", text}, ExecType: {"exec_type", text}, OrdStatus: {"ord_status", text}, SentAt: {"sending_time", text},
	FirstSent: {"orig_sending_time", text}, Marks: {"marks", unsigned}, NewSeqNum: {"new_seq_no", unsigned}, Trail: {"hops", text},
	Content: {"content", blob}, Whole: {"content_bytes", unsigned},
	First: {"first", unsigned}, Last: {"last", unsigned}, Count: {"count", unsigned}, Chain: {"chain", octets}, Elapsed: {"elapsed_ns", unsigned},
	Actor: {"actor", text}, Verb: {"verb", text}, Object: {"object", text}, Before: {"before", text}, After: {"after", text}, Result: {"result", text},
	Detail: {"detail", text}, Process: {"pid", unsigned}, User: {"uid", unsigned}, Program: {"executable", text}, Unit: {"unit", text},
	Link: {"link", unsigned}, Version: {"version", unsigned},
	Offset: {"offset_ns", signed}, Frequency: {"frequency_ppb", signed}, Stratum: {"stratum", unsigned}, Reference: {"reference", text}, Dispersion: {"dispersion_ns", unsigned},
	Subject: {"subject", octets}, Sealed: {"sealed", blob},
}

// String is the field's name, "tag_N" for one of a later version.
func (t Tag) String() string {
	if n := fields[t].name; n != "" {
		return n
	}
	return nameOf(nil, int(t), "tag")
}

// TagOf is the tag of a name.
func TagOf(name string) (Tag, bool) {
	for t := range fields {
		if fields[t].name == name && name != "" {
			return Tag(t), true
		}
	}
	return 0, false
}
