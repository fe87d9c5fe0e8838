package demo

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"fire/transport/fix"
)

// rawClient is a FIX client without any session logic.
type rawClient struct {
	t    *testing.T
	conn net.Conn
	buf  []byte
	seq  int
	comp string
}

func dialRaw(t *testing.T, addr, comp string) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &rawClient{t: t, conn: conn, comp: comp, seq: 1}
}

func (c *rawClient) build(msgType string, seq int, fields string) []byte {
	var b fix.Builder
	b.Begin(fixVersion, msgType)
	b.String(49, c.comp)
	b.String(56, compGateway)
	b.Int(34, int64(seq))
	b.Time(52, time.Now())
	b.Fields([]byte(strings.ReplaceAll(fields, "|", "\x01")))
	return b.End()
}

func (c *rawClient) say(msgType, fields string) {
	c.write(c.build(msgType, c.seq, fields))
	c.seq++
}

func (c *rawClient) write(b []byte) {
	c.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	c.conn.Write(b)
}

// await reads until a message holds text; "" waits for the connection's end.
func (c *rawClient) await(text string) string {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	text = strings.ReplaceAll(text, "|", "\x01")
	var chunk [4096]byte
	for {
		var m fix.Message
		if n, err := fix.Next(c.buf, &m, 1<<16); err == nil {
			c.buf = c.buf[n:]
			if text != "" && strings.Contains(string(m.Raw), text) {
				return string(m.Raw)
			}
			continue
		}
		n, err := c.conn.Read(chunk[:])
		c.buf = append(c.buf, chunk[:n]...)
		if err != nil {
			if ne, ok := err.(net.Error); text == "" && !(ok && ne.Timeout()) {
				return ""
			}
			c.t.Fatalf("%s: waiting for %q: %v", c.comp, text, err)
		}
	}
}

func (c *rawClient) logon() {
	c.t.Helper()
	c.say("A", "98=0|108=30|141=Y|")
	c.await("|35=A|")
}

func (c *rawClient) order(id string) string {
	return "11=" + id + "|55=ACME|54=1|38=100|40=2|44=91.00|60=" + string(fix.AppendTime(nil, time.Now())) + "|"
}

// hostileFloor is a gateway with engine and risk that any client may talk to.
func hostileFloor(t *testing.T) (*testFloor, *Gateway) {
	f := newFloor(t)
	f.start("engine", nil)
	f.start("risk-b", nil)
	g, err := NewGateway(GatewayConfig{Listen: "127.0.0.1:0", Engine: f.addr["engine"], Risk: f.addr["risk"], Clients: []string{"*"}}, f.log)
	if err != nil {
		t.Fatal(err)
	}
	f.run("gateway", g)
	eventually(t, "the gateway reaches the engine", g.engine.up.Load)
	return f, g
}

func TestHostileClientsHarmNobody(t *testing.T) {
	_, g := hostileFloor(t)
	good := dialRaw(t, g.Addr(), "GOOD")
	good.logon()
	good.say("D", good.order("first")) // opens the connections to risk
	good.await("|11=first|")
	before := runtime.NumGoroutine()
	huge := "8=FIX.4.4\x019=999999999\x0135=A\x01"
	for name, attack := range map[string]func(c *rawClient){
		"http":             func(c *rawClient) { c.write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) },
		"noise":            func(c *rawClient) { c.write(bytes.Repeat([]byte("8=FI"), 20_000)) },
		"huge length":      func(c *rawClient) { c.write([]byte(huge)) },
		"no logon":         func(c *rawClient) { c.say("D", c.order("x")) },
		"path as CompID":   func(c *rawClient) { c.comp = "../../etc"; c.say("A", "98=0|108=30|") },
		"long CompID":      func(c *rawClient) { c.comp = strings.Repeat("X", 4000); c.say("A", "98=0|108=30|") },
		"second logon":     func(c *rawClient) { c.comp = "GOOD"; c.say("A", "98=0|108=30|") },
		"logon with reset": func(c *rawClient) { c.comp = "GOOD"; c.say("A", "98=0|108=30|141=Y|") },
		"noise when on":    func(c *rawClient) { c.logon(); c.write(bytes.Repeat([]byte("\x0110=000\x01"), 20_000)) },
		"number too low":   func(c *rawClient) { c.logon(); c.seq = 1; c.say("0", ""); c.await("|58=MsgSeqNum too low") },
		"name of another":  func(c *rawClient) { c.logon(); c.comp = "GOOD"; c.say("D", c.order("x")); c.await("|373=9|") },
		"half a message": func(c *rawClient) {
			c.logon()
			c.write([]byte("8=FIX.4.4\x019=100\x0135=D\x01"))
			c.conn.(*net.TCPConn).CloseWrite()
		},
	} {
		c := dialRaw(t, g.Addr(), "EVIL-"+strings.ReplaceAll(name, " ", "-"))
		attack(c)
		c.await("") // cut
		t.Log(name)
	}
	for range 3 { // a health check is nobody's logon
		dialRaw(t, g.Addr(), "NOBODY").conn.Close()
	}
	good.say("D", good.order("still"))
	good.await("|11=still|")
	if g.acc.duplicates.Load() != 2 {
		t.Errorf("%d duplicate sessions counted, want 2", g.acc.duplicates.Load())
	}
	eventually(t, "all goroutines of cut connections have ended", func() bool { return runtime.NumGoroutine() <= before+8 })
}

func TestGarbledMessagesUseNoNumber(t *testing.T) {
	_, g := hostileFloor(t)
	c := dialRaw(t, g.Addr(), "CLIENT")
	c.logon()
	bad := c.build("D", c.seq, c.order("lost"))
	bad[len(bad)-2] ^= 1
	c.write(bad)
	c.write([]byte("rubbish"))
	c.say("D", c.order("kept"))
	c.await("|11=kept|")
}

func TestBadOrdersAreNamed(t *testing.T) {
	_, g := hostileFloor(t)
	c := dialRaw(t, g.Addr(), "CLIENT")
	c.logon()
	now := string(fix.AppendTime(nil, time.Now()))
	for _, row := range [][3]string{
		{"D", "55=ACME|54=1|38=1|40=2|44=91|60=" + now + "|", "|371=11|372=D|373=1|"},
		{"D", "11=a|54=1|38=1|40=2|44=91|60=" + now + "|", "|371=55|372=D|373=1|"},
		{"D", "11=a|55=ACME|54=9|38=1|40=2|44=91|60=" + now + "|", "|371=54|372=D|373=5|"},
		{"D", "11=a|55=ACME|54=1|38=x|40=2|44=91|60=" + now + "|", "|371=38|372=D|373=6|"},
		{"D", "11=a|55=ACME|54=1|38=1|40=2|44=91.001|60=" + now + "|", "|371=44|372=D|373=6|"},
		{"D", "11=a|55=ACME|54=1|38=1|40=2|60=" + now + "|", "|371=44|372=D|373=1|"},
		{"D", "11=a|55=ACME|54=1|38=1|40=2|44=91|60=now|", "|371=60|372=D|373=6|"},
		{"D", "11=" + strings.Repeat("a", 33) + "|55=ACME|54=1|38=1|40=2|44=91|60=" + now + "|", "|371=11|372=D|373=5|"},
		{"F", "11=b|55=ACME|54=1|60=" + now + "|", "|371=41|372=F|373=1|"},
		{"F", "11=b|41=never|55=ACME|54=1|60=" + now + "|", "|35=9|"},
		{"H", "11=b|", "|35=j|"},
		{"ZZ", "", "|35=j|"},
		{"D", "11=c|55=NONE|54=1|38=1|40=2|44=91|60=" + now + "|", "|58=risk: unknown symbol|"},
		{"D", "11=d|55=ACME|54=1|38=1|40=2|44=50|60=" + now + "|", "|58=risk: price is more than 10% from the opening price|"},
		{"D", "11=e|55=ACME|54=1|38=1|40=3|44=91|60=" + now + "|", "|103=11|"},
	} {
		c.say(row[0], row[1])
		c.await(row[2])
	}
}

func TestSlowReaderIsCut(t *testing.T) {
	_, g := hostileFloor(t)
	c := dialRaw(t, g.Addr(), "SLOW")
	c.logon()
	// It asks for everything again and again, and reads nothing.
	for i := range 200 {
		c.say("D", c.order(fmt.Sprint("s", i)))
	}
	// The answers to its orders come by way of risk and the engine.
	eventually(t, "there is something to send again", func() bool {
		p := g.acc.find([]byte("SLOW"))
		return p != nil && p.sent.Load() >= 200
	})
	for range 4000 {
		c.say("2", "7=1|16=0|")
	}
	eventually(t, "the slow reader is cut", func() bool {
		p := g.acc.find([]byte("SLOW"))
		return p != nil && !p.busy.Load()
	})
}

func FuzzGatewayBytes(f *testing.F) {
	c := &rawClient{comp: "A"}
	f.Add(c.build("A", 1, "98=0|108=30|"), uint16(10))
	f.Add(c.build("D", 2, c.order("x")), uint16(40))
	f.Add(c.build("2", 2, "7=1|16=0|"), uint16(3))
	f.Add(c.build("4", 2, "123=Y|36=9|"), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, chop uint16) {
		p := newPair()
		p.connect()
		p.settle()
		p.say(p.b, "one")
		p.toA = nil
		for range 2 {
			rest := b
			for len(rest) > 0 {
				var m fix.Message
				n, err := fix.Next(rest, &m, fixMessageBytesMax)
				if err == nil {
					p.b.receive(&m, p.now)
				}
				if n == 0 {
					break
				}
				rest = rest[n:]
			}
			b = fixed2(b, int(chop))
		}
		if p.b.out.Len() > unsentBytesMax+(1<<16) {
			t.Fatalf("%d bytes of answer", p.b.out.Len())
		}
		var m fix.Message
		for out := p.b.out.Raw(); len(out) > 0; {
			n, err := fix.Next(out, &m, 1<<20)
			if err != nil {
				t.Fatalf("said %q: %v", out, err)
			}
			out = out[n:]
		}
	})
}

// fixed2 makes a whole message of what stands between "35=" and the end, so that the
// fuzzer's changes get past length and sum.
func fixed2(b []byte, chop int) []byte {
	i := bytes.Index(b, []byte("35="))
	if i < 0 || i+5 > len(b) {
		return nil
	}
	body := append(bytes.Clone(b[i:max(i, len(b)-chop%16)]), 1)
	s := fmt.Sprintf("8=FIX.4.4\x019=%d\x01%s", len(body), body)
	return fmt.Appendf(nil, "%s10=%03d\x01", s, fix.CheckSum([]byte(s)))
}

func TestSubscribersResumeAndBadOnesAreCut(t *testing.T) {
	f := newFloor(t)
	f.start("engine", nil)
	d := f.start("market-data", nil).(*MarketData)
	eventually(t, "subscribed", d.subscribed.Load)
	login := func(session string, seq int) string {
		return fmt.Sprintf("\x00\x2fL%-6s%-10s%10s%20d", "u", "p", session, seq)
	}
	ask := func(text string, n int) string {
		conn, err := net.Dial("tcp", d.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte(text))
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, n)
		k, _ := io.ReadFull(conn, b)
		return string(b[:k])
	}
	for _, text := range []string{login("OTHER", 0), login("", 1)[:20] + strings.Repeat("x", 29)} {
		if got := ask(text, 4); got != "" && got != "\x00\x02JS" {
			t.Errorf("login %q: %q", text, got)
		}
	}
	for _, text := range []string{"\x00\x00", "\xff\xff", "\x00\x01R", "\x00\x01?"} {
		if got := ask(text, 1); got != "" {
			t.Errorf("%q is answered with %q", text, got)
		}
	}
	all := ask(login("", 1), 33+15+8*42)
	if !strings.HasPrefix(all, "\x00\x1fA") || strings.Count(all, "ACME    ") != 1 || strings.Count(all, "\x00\x28SR") != 8 {
		t.Errorf("from the beginning: %q", all)
	}
	if got := ask(login("", 9), 33+42); !strings.HasSuffix(got[:33], "                   9") || !strings.Contains(got, "HELM") {
		t.Errorf("from number 9: %q", got)
	}
}
