package order

import (
	"cmp"
	"time"
)

// sides are who asks and who answers in an order's session. They give the pair of CompIDs its
// direction: two firms may use the same ClOrdID for orders that go opposite ways.
type sides struct{ buyer, seller, buyerService, sellerService string }

func (s *sighting) sides() sides {
	from, to := s.at.service, s.at.peer
	if s.at.direction == "down" {
		from, to = to, from
	}
	if answers(s.fix.msgType) {
		return sides{s.fix.target, s.fix.sender, to, from}
	}
	return sides{s.fix.sender, s.fix.target, from, to}
}

// answers are the messages of the side that takes orders: ExecutionReport, OrderCancelReject,
// ListStatus, OrderMassCancelReport, OrderMassActionReport.
func answers(msgType string) bool {
	switch msgType {
	case "8", "9", "N", "r", "BZ":
		return true
	}
	return false
}

// id is an identifier where it is unique: in one session and one trading day (FIX 4.4 volume 1,
// "Unique IDs"). OrderID has no day: firms that take orders of several days make it unique over
// them.
type id struct {
	by            By
	value         string
	buyer, seller string
	day           int64
}

// ids are what tie a message to others of its order. ClOrdID and OrigClOrdID are one kind: the
// one's value is the other's in the next message of a chain.
func (s *sighting) ids(dayBegins time.Duration) []id {
	if s.fix.msgType == "" {
		return nil
	}
	who, day := s.sides(), dayOf(s.head.Time, dayBegins)
	out := make([]id, 0, 4)
	for _, c := range [...]id{
		{by: ByClOrdID, value: s.fix.clOrdID, day: day}, {by: ByClOrdID, value: s.fix.origID, day: day},
		{by: ByOrderID, value: s.fix.orderID}, {by: ByExecID, value: s.fix.execID, day: day},
	} {
		if tells(c) {
			c.buyer, c.seller = who.buyer, who.seller
			out = append(out, c)
		}
	}
	return out
}

// tells is false of the values that the specifications prescribe where there is no identifier:
// OrderID NONE of a reject of something unknown, ExecID 0 of an order's status.
func tells(c id) bool {
	return c.value != "" && c.value != "NONE" && !(c.value == "0" && c.by != ByClOrdID)
}

func dayOf(nanos int64, begins time.Duration) int64 {
	at := nanos - int64(begins)
	day := at / int64(24*time.Hour)
	if at%int64(24*time.Hour) < 0 {
		day--
	}
	return day
}

// touches says whether u's seller may be d's buyer: an application that takes orders in one
// session and sends them on in another, and not back.
func touches(u, d sides) bool {
	if u.buyer == d.buyer && u.seller == d.seller || u.buyer == d.seller && u.seller == d.buyer {
		return false
	}
	return u.seller != "" && u.seller == d.buyer || u.sellerService != "" && u.sellerService == d.buyerService
}

// first is the least of what is there, for names that must not depend on the order of input.
func first[T cmp.Ordered](a, b T) T {
	var none T
	switch {
	case a == none:
		return b
	case b == none:
		return a
	}
	return min(a, b)
}

// sets is union-find over the numbers below its length.
type sets []int

func newSets(n int) sets {
	s := make(sets, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func (s sets) of(i int) int {
	for s[i] != i {
		s[i] = s[s[i]]
		i = s[i]
	}
	return i
}

// join makes the smaller number the one that names both.
func (s sets) join(i, j int) {
	i, j = s.of(i), s.of(j)
	s[max(i, j)] = min(i, j)
}
