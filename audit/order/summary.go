package order

import (
	"slices"
	"strings"

	"fire/transport/fix"
)

// states are the names of OrdStatus (39).
var states = map[string]string{
	"0": "new", "1": "partially_filled", "2": "filled", "3": "done_for_day", "4": "canceled", "5": "replaced", "6": "pending_cancel", "7": "stopped",
	"8": "rejected", "9": "suspended", "A": "pending_new", "B": "calculated", "C": "expired", "D": "accepted_for_bidding", "E": "pending_replace",
}

// leg sums up what became of the order in one session.
func (n *narrator) leg(i int, l *leg) Leg {
	out := Leg{
		Buyer: l.buyer, Seller: l.seller, BuyerService: l.buyerService, SellerService: l.sellerService, JoinedBy: l.by,
		ClOrdIDs: l.values(ByClOrdID), OrderIDs: l.values(ByOrderID), State: "sent", Fills: []Fill{},
	}
	if from := slices.Index(n.legs, l.upstream); l.upstream != nil && from >= 0 {
		out.From = &from
	}
	last, refused := -1, false
	for at, t := range n.sent {
		if leg, ok := n.legOf[t]; !ok || leg != i {
			continue
		}
		if s := t.first(); out.FirstNanos == 0 {
			out.FirstNanos, out.LastNanos = s.head.Time, s.head.Time
		} else {
			out.FirstNanos, out.LastNanos = min(out.FirstNanos, s.head.Time), max(out.LastNanos, s.head.Time)
		}
		refused = refused || slices.ContainsFunc(t.seen, (*sighting).refused)
		if t.copyOf != nil || t.first().fix.ordStatus == "" {
			continue
		}
		if last >= 0 {
			out.Uncertain = n.sent[last].first().fix.ordStatus != t.first().fix.ordStatus && slices.Contains(uncertain(n.sent, at), last)
		}
		last = at
		out.report(at, t)
	}
	switch name, known := states[out.OrdStatus]; {
	case known:
		out.State = name
	case out.OrdStatus != "":
		out.State = "ord_status_" + out.OrdStatus
	case refused:
		out.State = "refused"
	}
	return out
}

// report takes one ExecutionReport, or what else has an OrdStatus, that is no copy.
func (l *Leg) report(at int, t *transmission) {
	s := t.first()
	l.OrdStatus = s.fix.ordStatus
	if s.fix.msgType != "8" || s.content == "" {
		return
	}
	r := readReport(s.content)
	if r.cum != "" {
		l.Filled = r.cum
	}
	if r.leaves != "" {
		l.Leaves = r.leaves
	}
	kind := r.kind(s.fix.execType, s.fix.ordStatus)
	if kind == "" || slices.ContainsFunc(l.Fills, func(f Fill) bool { return f.ExecID == s.fix.execID && f.Kind == kind && f.ExecID != "" }) {
		return
	}
	l.Fills = append(l.Fills, Fill{
		Message: at, ExecID: s.fix.execID, Kind: kind, Qty: r.last, Price: r.price, CumQty: r.cum, Leaves: r.leaves,
		TimeUTC: timeText(s.head.Time), UTCNanos: s.head.Time,
	})
}

// report is what an ExecutionReport says of quantities.
type report struct{ last, price, cum, leaves, transaction string }

func readReport(content string) report {
	var r report
	f := fix.FieldsOf([]byte(content))
	for {
		tag, v, ok := f.Next()
		if !ok {
			return r
		}
		switch tag {
		case 14:
			r.cum = string(v)
		case 20:
			r.transaction = string(v)
		case 31:
			r.price = string(v)
		case 32:
			r.last = string(v)
		case 151:
			r.leaves = string(v)
		}
	}
}

// kind says what execution it is, "" for none. FIX 4.3 and later have ExecType F, G and H;
// 4.2 and earlier say it with ExecTransType (20) beside ExecType or OrdStatus 1 and 2.
func (r report) kind(execType, ordStatus string) string {
	switch execType {
	case "F":
		return "trade"
	case "G":
		return "correct"
	case "H":
		return "cancel"
	}
	qty, ok := fix.Decimal([]byte(r.last), 8)
	switch {
	case r.transaction == "1":
		return "cancel"
	case r.transaction == "2":
		return "correct"
	case r.transaction == "3" || !ok || qty == 0:
		return ""
	}
	if execType == "" {
		execType = ordStatus
	}
	if execType == "1" || execType == "2" {
		return "trade"
	}
	return ""
}

// values are the identifiers of one kind, sorted.
func (l *leg) values(by By) []string {
	out := []string{}
	for c := range l.ids {
		if c.by == by && !slices.Contains(out, c.value) {
			out = append(out, c.value)
		}
	}
	slices.SortFunc(out, strings.Compare)
	return out
}
