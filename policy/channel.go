package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fire/policy/id"
	"fire/policy/reason"
)

// ChannelsMax bounds the channels of a floor, channelServicesMax each of their lists.
const (
	ChannelsMax        = 4096
	channelServicesMax = 64
	channelNameMax     = 63
	descriptionMax     = 512
)

// Channel is one named table [channel.NAME] of the floor file: a direct path that passes
// by the proxies. Its lists are its allow rules; what no list names may not attach, and a
// deny rule that covers a publisher and a subscriber keeps them apart here, too.
type Channel struct {
	Kind        ChannelKind  `toml:"kind" json:"kind"`                             // must be given
	Publishers  []string     `toml:"publishers" json:"publishers"`                 // services that write; the callers of "rpc"
	Subscribers []string     `toml:"subscribers" json:"subscribers"`               // services that read; the server of "rpc"
	Size        Size         `toml:"size" json:"size"`                             // of one ring, rounded up to a power of two; default "4MiB"
	Wait        WaitStrategy `toml:"wait" json:"wait"`                             // of a reader that finds nothing; default "adaptive"; "poll" not for "rpc"
	Audit       AuditMode    `toml:"audit" json:"audit"`                           // default "digest-all"
	Keep        Duration     `toml:"keep" json:"keep"`                             // how long what a lost reader has not read holds its lane; default 5s, not for "broadcast"
	Groups      []string     `toml:"groups" json:"groups,omitempty"`               // multicast, "239.192.0.1:7500", one for each line between hosts; only for "broadcast"
	Tagged      []string     `toml:"tagged" json:"tagged,omitempty"`               // subscribers whose hosts a broadcast waits for on its way there, as far as window and ring reach; on their own host they read as all do; default none
	Snapshot    uint16       `toml:"snapshot_type" json:"snapshot_type,omitempty"` // messages of this type say all that a newcomer from another host needs; 0: none
	Protocol    Protocol     `toml:"protocol" json:"protocol,omitempty"`           // "fix": the messages are FIX, and the audit log reads them; default none
	Description string       `toml:"description" json:"description,omitempty"`
}

// Protocol is what the messages of a channel are. It is declared, never sniffed.
type Protocol string

// What they may be.
const (
	NoProtocol  Protocol = ""
	FIXProtocol Protocol = "fix"
)

// ChannelKind is how the ends of a channel are tied together.
type ChannelKind string

const (
	Orders    ChannelKind = "orders"    // one lane per publisher; a full lane refuses, nothing is lost
	Broadcast ChannelKind = "broadcast" // a publisher never waits; a slow reader is told what it lost
	RPC       ChannelKind = "rpc"       // a lane there and one back per caller
)

// WaitStrategy is what a reader does that finds nothing.
type WaitStrategy string

const (
	WaitSpin      WaitStrategy = "spin"
	WaitSpinYield WaitStrategy = "spin-yield"
	WaitAdaptive  WaitStrategy = "adaptive"
	WaitPoll      WaitStrategy = "poll" // in a poll loop beside its sockets, by a doorbell
)

// AuditMode is what the direct node records of the messages of a channel.
type AuditMode string

const (
	AuditEach   AuditMode = "messages"   // an entry of its own for every message, with its bytes
	AuditAll    AuditMode = "digest-all" // a digest of every message
	AuditSample AuditMode = "sample"     // one in 1,024
	AuditOff    AuditMode = "off"        // attachments and counters alone
)

// Side is the end of a channel that somebody wants.
type Side uint8

const (
	Publish   Side = 1
	Subscribe Side = 2
)

func (s Side) String() string {
	switch s {
	case Publish:
		return "publish"
	case Subscribe:
		return "subscribe"
	}
	return "side " + strconv.Itoa(int(s))
}

// DefaultChannel is a [channel.NAME] table without keys.
func DefaultChannel() Channel {
	return Channel{Size: 4 << 20, Wait: WaitAdaptive, Audit: AuditAll, Keep: Duration(5 * time.Second)}
}

// Check reports everything wrong with the channel. Whether the services exist is the
// floor's to check.
func (c Channel) Check(name string, bad func(field, text string)) {
	say := func(field, format string, args ...any) { bad(field, fmt.Sprintf(format, args...)) }
	if _, err := id.ParseName(name); err != nil {
		say("", "%v", err)
	}
	if len(name) > channelNameMax {
		say("", "the name has %d bytes, the limit is %d", len(name), channelNameMax)
	}
	among(say, "kind", c.Kind, Orders, Broadcast, RPC)
	among(say, "wait", c.Wait, WaitSpin, WaitSpinYield, WaitAdaptive, WaitPoll)
	among(say, "audit", c.Audit, AuditEach, AuditAll, AuditSample, AuditOff)
	among(say, "protocol", c.Protocol, NoProtocol, FIXProtocol)
	for field, list := range map[string][]string{"publishers": c.Publishers, "subscribers": c.Subscribers} {
		checkEnds(say, field, list)
	}
	if c.Kind == RPC && len(c.Subscribers) > 1 {
		say("subscribers", "%d services; an rpc channel has one, its server", len(c.Subscribers))
	}
	if c.Kind == RPC && c.Wait == WaitPoll {
		say("wait", "\"poll\" is not for an rpc channel: a pair has no doorbell; take \"adaptive\"")
	}
	if c.Size < SizeMin || c.Size > SizeMax {
		say("size", "%v is not %v to %v", c.Size, SizeMin, SizeMax)
	}
	if d := time.Duration(c.Keep); d < 0 || d > time.Hour {
		say("keep", "%v is not 0s to 1h", d)
	}
	c.checkGroups(say)
	if len(c.Description) > descriptionMax || !utf8.ValidString(c.Description) {
		say("description", "is longer than %d bytes or not UTF-8", descriptionMax)
	}
}

func (c Channel) checkGroups(say badFunc) {
	if len(c.Groups) > 2 {
		say("groups", "%d groups; there are two lines", len(c.Groups))
	}
	if len(c.Tagged) > 0 && c.Kind != Broadcast {
		say("tagged", "only a broadcast chooses whom it waits for")
	}
	for _, s := range c.Tagged {
		if !slices.Contains(c.Subscribers, s) {
			say("tagged", "%q is none of the subscribers", s)
		}
	}
	if len(c.Groups) > 0 && c.Kind != Broadcast {
		say("groups", "only a broadcast goes to groups")
	}
	for _, g := range c.Groups {
		if a, err := netip.ParseAddrPort(g); err != nil || !a.Addr().IsMulticast() || !a.Addr().Is4() || a.Port() == 0 {
			say("groups", "%q is no IPv4 multicast address with a port, as \"239.192.0.1:7500\"", g)
		}
	}
}

// GroupAddresses are the groups; none when they are wrong.
func (c Channel) GroupAddresses() (out []netip.AddrPort) {
	for _, g := range c.Groups {
		a, err := netip.ParseAddrPort(g)
		if err != nil {
			return nil
		}
		out = append(out, a)
	}
	return out
}

func checkEnds(say badFunc, field string, list []string) {
	if len(list) == 0 {
		say(field, "is empty; name the services")
	}
	if len(list) > channelServicesMax {
		say(field, "%d services, the limit is %d", len(list), channelServicesMax)
		return
	}
	for i, s := range list {
		if _, err := id.ParseName(s); err != nil {
			say(field, "%v", err)
		} else if slices.Contains(list[:i], s) {
			say(field, "%q stands twice", s)
		}
	}
}

func among[T ~string](say badFunc, field string, v T, known ...T) {
	if slices.Contains(known, v) {
		return
	}
	var words []string
	for _, k := range known {
		if k != "" {
			words = append(words, string(k))
		}
	}
	if v == "" {
		say(field, "must be given: %s", strings.Join(words, ", "))
		return
	}
	say(field, "%q is none of %s%s", string(v), strings.Join(words, ", "), didYouMean(string(v), words...))
}

// Attach decides whether who may take a side of the channel, whatever the other ends.
func (t *Table) Attach(name string, c Channel, who id.Principal, side Side) Verdict {
	list := c.Publishers
	if side == Subscribe {
		list = c.Subscribers
	}
	v := Verdict{Code: reason.DeniedByDefault, Bundle: t.hash}
	if who.Kind == id.KindService && who.Domain.Mesh == t.mesh && slices.Contains(list, who.Name) && (side == Publish || side == Subscribe) {
		v = Verdict{Allowed: true, Rule: "channel." + name, Bundle: t.hash}
	}
	return v
}

// Pair decides whether a subscriber of a channel may see what a publisher writes: both
// are attached, and only a deny rule can keep them apart. A channel has no port, so a
// deny rule for some port of the subscriber covers it, as everything not known does.
func (t *Table) Pair(name string, publisher, subscriber id.Principal) Verdict {
	if v := t.Authorize(publisher, subscriber, Op{Opaque: true}); v.Code == reason.DeniedByRule {
		return v
	}
	return Verdict{Allowed: true, Rule: "channel." + name, Bundle: t.hash}
}
