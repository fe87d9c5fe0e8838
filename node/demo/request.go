package demo

import "fire/transport/fix"

// request is an order message's fields: D, F or G. Byte slices are views.
type request struct {
	clOrdID, origClOrdID []byte
	symbol               []byte
	account              []byte
	side                 side
	ordType, tif         byte
	qty, price           int64
	hasPrice, hasTime    bool
}

// clOrdIDBytesMax bounds what programs keep of a client's order ids.
const clOrdIDBytesMax = 32

// parseRequest reads an order message. When it breaks FIX 4.4's rules for its type
// the offending tag and a SessionRejectReason come back; why is -1 when all is well.
func parseRequest(m *fix.Message) (r request, tag, why int) {
	hasQty := false
	ok := true
	f := m.Fields()
	for t, v, more := f.Next(); more && ok; t, v, more = f.Next() {
		tag = t
		switch t {
		case 11:
			r.clOrdID = v
			ok = len(v) <= clOrdIDBytesMax
		case 41:
			r.origClOrdID = v
			ok = len(v) <= clOrdIDBytesMax
		case 55:
			r.symbol = v
		case 1:
			r.account = v
		case 54:
			r.side = side(v[0])
			ok = len(v) == 1 && (r.side == buy || r.side == sell)
		case 40:
			r.ordType = v[0]
			ok = len(v) == 1
		case 59:
			r.tif = v[0]
			ok = len(v) == 1
		case 38:
			r.qty, ok = fix.Decimal(v, 0)
			hasQty = true
			if !ok {
				return r, t, rejectFormat
			}
		case 44:
			r.price, r.hasPrice = fix.Decimal(v, priceScale)
			if !r.hasPrice {
				return r, t, rejectFormat
			}
		case 60:
			if _, r.hasTime = fix.Time(v); !r.hasTime {
				return r, t, rejectFormat
			}
		}
	}
	if !ok {
		return r, tag, rejectValue
	}
	cancel := m.Type[0] == 'F'
	for _, need := range [...]struct {
		tag int
		has bool
	}{
		{11, r.clOrdID != nil}, {55, r.symbol != nil}, {54, r.side != 0}, {60, r.hasTime},
		{41, r.origClOrdID != nil || m.Type[0] == 'D'},
		{40, r.ordType != 0 || cancel}, {38, hasQty || cancel},
		{44, r.hasPrice || cancel || r.ordType == '1'},
	} {
		if !need.has {
			return r, need.tag, rejectTagMissing
		}
	}
	return r, 0, -1
}
