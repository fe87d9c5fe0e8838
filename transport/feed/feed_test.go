package feed

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"fire/policy/reason"
)

func TestEveryPacketTypeGoesThrough(t *testing.T) {
	var b []byte
	var err error
	add := func(next []byte, e error) {
		if e != nil {
			err = e
		}
		b = next
	}
	add(AppendLogin(b, LoginRequest{User: "desk", Password: "secret", Session: "S1", Sequence: 42}))
	add(AppendAccepted(b, "S1", 43))
	b = AppendRejected(b, NoSuchSession)
	for _, ty := range []Type{ClientHeartbeat, ServerHeartbeat, Logout, EndOfSession} {
		add(AppendPacket(b, ty, nil))
	}
	for _, ty := range []Type{Debug, Sequenced, Unsequenced} {
		add(AppendPacket(b, ty, []byte("payload")))
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for rest := b; len(rest) > 0; {
		var p Packet
		n, err := Next(rest, &p, PacketBytesMax)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range n {
			if _, err := Next(rest[:cut], &p, PacketBytesMax); err != ErrShort {
				t.Fatalf("%c cut at %d: %v", p.Type, cut, err)
			}
		}
		Next(rest, &p, PacketBytesMax)
		got = append(got, byte(p.Type))
		switch p.Type {
		case Login:
			if l, err := ParseLogin(p.Payload); err != nil || l != (LoginRequest{"desk", "secret", "S1", 42}) {
				t.Errorf("login %+v, %v", l, err)
			}
		case LoginAccepted:
			if s, next, err := ParseAccepted(p.Payload); err != nil || s != "S1" || next != 43 {
				t.Errorf("accepted %q %d %v", s, next, err)
			}
		}
		rest = rest[n:]
	}
	if string(got) != "LAJRHOZ+SU" {
		t.Fatalf("types %q", got)
	}
}

func TestLoginIsTheSpecificationsBytes(t *testing.T) {
	b, _ := AppendLogin(nil, LoginRequest{User: "u", Password: "p", Sequence: 1})
	want := "\x00\x2fLu     p                                      1"
	if string(b) != want {
		t.Fatalf("%q\n%q", b, want)
	}
}

func TestBadPacketsAreNamed(t *testing.T) {
	for want, b := range map[error][]byte{
		ErrLength:    {0, 0, 'H'},
		ErrType:      {0, 1, '?'},
		ErrPayload:   {0, 2, 'H', 0},
		ErrOversized: {0xff, 0xff, 'S'},
	} {
		var p Packet
		_, err := Next(b, &p, 1024)
		if err != want {
			t.Errorf("% x: %v; want %v", b, err, want)
		}
		if _, ok := errors.AsType[*reason.Error](err); !ok {
			t.Errorf("%T is no reason", err)
		}
	}
	if _, err := AppendPacket(nil, Sequenced, make([]byte, 65535)); err != ErrOversized {
		t.Errorf("65535 bytes of payload: %v", err)
	}
	if _, err := AppendLogin(nil, LoginRequest{User: "toolong"}); err != ErrPayload {
		t.Errorf("a user of 7 bytes: %v", err)
	}
	if _, err := ParseLogin(bytes.Repeat([]byte("x"), 46)); err != ErrPayload {
		t.Error("a sequence of letters is taken")
	}
	if _, err := ParseLogin(append(bytes.Repeat([]byte(" "), 26), bytes.Repeat([]byte("9"), 20)...)); err != ErrPayload {
		t.Error("a sequence above 64 bits is taken")
	}
}

func TestMessagesHaveTheWireSizeOfTheSpecification(t *testing.T) {
	m := Message{Locate: 7, At: 12*time.Hour + 345, Side: 'B', Shares: 300, Price: 1012500, Stock: [8]byte{'A', 'C', 'M', 'E', ' ', ' ', ' ', ' '}, Order: 9, New: 10, Match: 11, Event: 'O'}
	for _, k := range []Kind{SystemEvent, StockDirectory, AddOrder, OrderExecuted, OrderCancel, OrderDelete, OrderReplace, Trade} {
		m.Kind = k
		b := AppendMessage(nil, &m)
		if len(b) != messageBytes(k) {
			t.Errorf("%c is %d bytes, want %d", k, len(b), messageBytes(k))
		}
		var back Message
		if err := ParseMessage(b, &back); err != nil || !bytes.Equal(AppendMessage(nil, &back), b) || back.At != m.At || back.Locate != 7 {
			t.Errorf("%c: %v %+v", k, err, back)
		}
		if ParseMessage(b[:len(b)-1], &back) == nil || ParseMessage(append(b, 0), &back) == nil {
			t.Errorf("%c of the wrong length is taken", k)
		}
	}
	if b := AppendMessage(nil, &Message{Kind: '?'}); len(b) != 0 {
		t.Errorf("an unknown kind writes %x", b)
	}
}

func TestNothingAllocates(t *testing.T) {
	m := Message{Kind: AddOrder, Side: 'B', Shares: 1}
	body, wire := make([]byte, 0, 64), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		body = AppendMessage(body[:0], &m)
		wire, _ = AppendPacket(wire[:0], Sequenced, body)
		var p Packet
		var back Message
		Next(wire, &p, PacketBytesMax)
		if err := ParseMessage(p.Payload, &back); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzNext(f *testing.F) {
	login, _ := AppendLogin(nil, LoginRequest{User: "desk", Sequence: 5})
	f.Add(login)
	f.Add([]byte{0, 1, 'H'})
	f.Add([]byte{0xff, 0xff, 'S'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Packet
		n, err := Next(b, &p, 4096)
		if err != nil {
			if n != 0 {
				t.Fatalf("n=%d with %v", n, err)
			}
			return
		}
		again, err := AppendPacket(nil, p.Type, p.Payload)
		if err != nil || !bytes.Equal(again, b[:n]) {
			t.Fatalf("%x reads back as %x (%v)", b[:n], again, err)
		}
		if l, err := ParseLogin(p.Payload); p.Type == Login && err == nil {
			w, err := AppendLogin(nil, l)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := ParseLogin(w[3:]); err != nil || back != l {
				t.Fatalf("%+v reads back as %+v (%v)", l, back, err)
			}
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	for _, k := range []Kind{SystemEvent, StockDirectory, AddOrder, OrderExecuted, OrderCancel, OrderDelete, OrderReplace, Trade} {
		f.Add(AppendMessage(nil, &Message{Kind: k, Order: 1}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, back Message
		if ParseMessage(b, &m) != nil {
			return
		}
		if err := ParseMessage(AppendMessage(nil, &m), &back); err != nil || back != m {
			t.Fatalf("%+v reads back as %+v (%v)", m, back, err)
		}
	})
}

func BenchmarkPacket(b *testing.B) {
	m := Message{Kind: AddOrder, Side: 'B', Shares: 1}
	wire, _ := AppendPacket(nil, Sequenced, AppendMessage(nil, &m))
	b.SetBytes(int64(len(wire)))
	for b.Loop() {
		var p Packet
		Next(wire, &p, PacketBytesMax)
		if err := ParseMessage(p.Payload, &m); err != nil {
			b.Fatal(err)
		}
	}
}
