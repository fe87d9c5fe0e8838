package demo

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// wiretap relays FIX connections and checks every byte of both directions with its
// own plain parser, so that an error shared by fix.Next and fix.Builder is seen.
type wiretap struct {
	t  *testing.T
	ln net.Listener
	to func() string

	mu    sync.Mutex
	cuts  int
	conns map[net.Conn]bool
	skips map[string]bool // directions that skip numbers on purpose
	ways  map[string]*way // by "sender>target"
	lines []string        // newest messages, for a failing test
	wg    sync.WaitGroup
}

// way is one direction of one session over all its connections.
type way struct {
	next   int // the number that the next message that is no repetition must have
	count  int
	types  map[string]int
	resent int
	owed   map[int]bool // numbers lost with a connection that was cut: to be resent or filled
}

func newWiretap(t *testing.T, to func() string) *wiretap {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{t: t, ln: ln, to: to, ways: map[string]*way{}, skips: map[string]bool{}, conns: map[net.Conn]bool{}}
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		ln.Close()
		w.cut()
		w.wg.Wait()
		if t.Failed() {
			w.mu.Lock()
			defer w.mu.Unlock()
			t.Log(strings.Join(w.lines, "\n"))
		}
	})
	return w
}

func (w *wiretap) addr() string { return w.ln.Addr().String() }

// cut breaks all connections without a word.
func (w *wiretap) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		c.Close()
	}
	clear(w.conns)
	w.cuts++
}

func (w *wiretap) accept() {
	for {
		a, err := w.ln.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", w.to())
		if err != nil {
			a.Close()
			continue
		}
		w.mu.Lock()
		w.conns[a], w.conns[b] = true, true
		age := w.cuts
		w.mu.Unlock()
		w.wg.Go(func() { w.pump(a, b, ">", age) })
		w.wg.Go(func() { w.pump(b, a, "<", age) })
	}
}

func (w *wiretap) pump(from, to net.Conn, mark string, age int) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	var rest []byte
	for {
		n, err := from.Read(buf)
		if n > 0 {
			rest = w.check(append(rest, buf[:n]...), mark, age)
			if _, werr := to.Write(buf[:n]); werr != nil && err == nil {
				err = werr
			}
		}
		if err != nil {
			if err == io.EOF && len(rest) > 0 {
				w.t.Errorf("stream ends inside a message: %q", rest)
			}
			return
		}
	}
}

// check takes whole messages off the front of b.
func (w *wiretap) check(b []byte, mark string, age int) []byte {
	for {
		i := bytes.Index(b, []byte("\x0110="))
		if i < 0 {
			return b
		}
		end := bytes.IndexByte(b[i+1:], 1)
		if end < 0 {
			return b
		}
		w.message(b[:i+1+end+1], mark, age)
		b = b[i+1+end+1:]
	}
}

func (w *wiretap) message(b []byte, mark string, age int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if age != w.cuts {
		return // it came too late to be passed on
	}
	readable := mark + strings.ReplaceAll(string(b), "\x01", "|")
	if w.lines = append(w.lines, readable[:min(len(readable), 300)]); len(w.lines) > 60 {
		w.lines = w.lines[1:]
	}
	if err := w.strict(string(b)); err != nil {
		w.t.Errorf("%v: %s", err, readable)
	}
}

func (w *wiretap) strict(s string) error {
	fields := strings.Split(strings.TrimSuffix(s, "\x01"), "\x01")
	get := map[string]string{}
	body := false
	for i, f := range fields {
		tag, v, ok := strings.Cut(f, "=")
		if n, err := strconv.Atoi(tag); !ok || err != nil || n <= 0 || strconv.Itoa(n) != tag || v == "" {
			return fmt.Errorf("field %d is %q", i, f)
		}
		if want := []string{"8", "9", "35"}; i < 3 && tag != want[i] {
			return fmt.Errorf("field %d is %s", i, tag)
		}
		header := strings.Contains(" 8 9 35 34 43 49 50 52 56 57 97 115 116 122 128 129 ", " "+tag+" ")
		if header && body {
			return fmt.Errorf("header field %s after the body began", tag)
		}
		body = body || !header
		if _, twice := get[tag]; twice && get["35"] != "X" && get["35"] != "V" {
			return fmt.Errorf("tag %s twice", tag)
		}
		get[tag] = v
	}
	sum := 0
	head := len(fields[0]) + len(fields[1]) + 2
	trailer := len(s) - 7
	for i := range trailer {
		sum += int(s[i])
	}
	if want := fmt.Sprintf("10=%03d\x01", sum%256); s[trailer:] != want {
		return fmt.Errorf("ends in %q, want %q", s[trailer:], want)
	}
	if get["9"] != strconv.Itoa(trailer-head) {
		return fmt.Errorf("BodyLength is %s, the body has %d bytes", get["9"], trailer-head)
	}
	if get["8"] != "FIX.4.4" || len(get["52"]) < 17 {
		return fmt.Errorf("BeginString %q, SendingTime %q", get["8"], get["52"])
	}
	return w.sequence(get)
}

func (w *wiretap) sequence(get map[string]string) error {
	key := get["49"] + ">" + get["56"]
	y := w.ways[key]
	if y == nil {
		y = &way{next: 1, types: map[string]int{}, owed: map[int]bool{}}
		w.ways[key] = y
	}
	seq, err := strconv.Atoi(get["34"])
	if err != nil || seq < 1 {
		return fmt.Errorf("MsgSeqNum %q", get["34"])
	}
	y.count++
	y.types[get["35"]]++
	if get["35"] == "A" && get["141"] == "Y" {
		y.next = 1
	}
	if get["43"] == "Y" {
		y.resent++
		if get["122"] == "" {
			return fmt.Errorf("PossDupFlag without OrigSendingTime")
		}
		next := seq + 1
		if get["35"] == "4" {
			next, _ = strconv.Atoi(get["36"])
		}
		for n := seq; n < next; n++ {
			delete(y.owed, n)
		}
		y.next = max(y.next, next)
		return nil
	}
	want := y.next
	y.next = seq + 1
	if jump := get["35"] == "A" && w.cuts > 0 || w.skips[key]; seq > want && jump {
		for n := want; n < seq; n++ {
			y.owed[n] = true
		}
	} else if seq != want {
		return fmt.Errorf("MsgSeqNum %d, want %d", seq, want)
	}
	return nil
}

// paid tells whether everything that cuts have lost was sent again or filled.
func (w *wiretap) paid() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, y := range w.ways {
		if len(y.owed) > 0 {
			return false
		}
	}
	return true
}

// of returns what was seen in one direction.
func (w *wiretap) of(key string) way {
	w.mu.Lock()
	defer w.mu.Unlock()
	y := w.ways[key]
	if y == nil {
		return way{}
	}
	copied := *y
	copied.types, copied.owed = maps.Clone(y.types), maps.Clone(y.owed)
	return copied
}
