package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// hand does with a ring what lines say, and answers each with a line. bindings/c/driver.c
// lists them. This package is one hand, each binding another.
type hand interface{ do(line string) string }

// goHand is this package.
type goHand struct {
	w       *Writer
	peers   map[string]*Peer
	claimed []byte
	readers map[string]*Reader
}

func newGoHand() *goHand { return &goHand{peers: map[string]*Peer{}, readers: map[string]*Reader{}} }

func (h *goHand) do(line string) string {
	words := strings.Fields(line)
	if words[0] == "w" {
		return h.write(words[1], words[2:])
	}
	return h.read(words[0], words[1], words[2:])
}

func numbersOf(words []string) (n [3]int) {
	for i, w := range words {
		if i < len(n) {
			n[i], _ = strconv.Atoi(w)
		}
	}
	return n
}

func said(err error) string {
	if err != nil {
		return "error " + err.Error()
	}
	return "ok"
}

// withFiles opens paths for the time of do.
func withFiles(paths []string, do func(f []*os.File) error) error {
	var files []*os.File
	for _, p := range paths {
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	return do(files)
}

func (h *goHand) write(verb string, arg []string) string {
	n := numbersOf(arg)
	switch verb {
	case "open":
		return said(withFiles(arg, func(f []*os.File) (err error) { h.w, err = OpenWriter(f[0], f[1]); return err }))
	case "add":
		return said(withFiles(arg[:1], func(f []*os.File) (err error) { h.peers[arg[1]], err = h.w.AddReader(f[0]); return err }))
	case "remove":
		h.w.RemoveReader(h.peers[arg[0]])
		return "ok"
	case "offer":
		return h.w.Offer(uint16(n[0]), filled(n[1], n[2])).String()
	case "claim":
		var res Result
		h.claimed, res = h.w.Claim(n[0])
		return res.String()
	case "commit":
		copy(h.claimed, filled(n[1], n[2]))
		h.w.Commit(uint16(n[0]), n[1])
		return "sent"
	case "abort":
		h.w.Abort()
		return "ok"
	case "pump":
		return h.pump(n[0], n[1])
	case "stat":
		s, why := h.w.State()
		return statLine(h.w.ring, s, why, ReaderStat{})
	case "close":
		return said(h.w.Close())
	}
	return "what?"
}

// filled is a payload of n bytes that follows from the seed.
func filled(n, seed int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(seed*31 + i*7)
	}
	return p
}

// numbered is message k of a pump.
func numbered(k uint64, most int) []byte {
	p := make([]byte, 8+k*37%uint64(most-7))
	binary.LittleEndian.PutUint64(p, k)
	for i := 8; i < len(p); i++ {
		p[i] = byte(k + uint64(i))
	}
	return p
}

// exchangeWithin bounds a pump and a drain.
const exchangeWithin = 20 * time.Second

func (h *goHand) pump(count, most int) string {
	for end, k := time.Now().Add(exchangeWithin), 0; k < count; {
		switch res := h.w.Offer(uint16(k), numbered(uint64(k), most)); {
		case res == Sent:
			k++
		case res != Full || time.Now().After(end):
			return res.String()
		default:
			runtime.Gosched()
		}
	}
	return "pumped"
}

func (h *goHand) read(who, verb string, arg []string) string {
	n, r := numbersOf(arg), h.readers[who]
	switch verb {
	case "open":
		return said(withFiles(arg, func(f []*os.File) (err error) { h.readers[who], err = OpenReader(f[0], f[1], f[2]); return err }))
	case "poll":
		return polled(r, n[0])
	case "next":
		return polled(r, 1)
	case "drain":
		return drain(r, uint64(n[0]), n[1])
	case "stat":
		s, why := r.State()
		return statLine(r.ring, s, why, (&CursorView{r.own}).Stat())
	case "close":
		return said(r.Close())
	}
	return "what?"
}

func polled(r *Reader, most int) string {
	var said []string
	n, gap, err := r.Poll(most, func(typ uint16, p []byte) {
		sum := fnv.New32a()
		sum.Write(p)
		said = append(said, fmt.Sprintf("message %d %d %08x", typ, len(p), sum.Sum32()))
	})
	var shut *ShutError
	switch {
	case gap != (Gap{}):
		said = append(said, fmt.Sprintf("gap %d %d", gap.First, gap.Last))
	case n > 0: // the error stays for the next
	case errors.As(err, &shut):
		said = append(said, fmt.Sprintf("shut %d %d", shut.State, shut.Reason))
	case errors.Is(err, ErrCorrupt):
		said = append(said, "corrupt")
	default:
		said = append(said, "nothing")
	}
	return strings.Join(said, ", ")
}

func drain(r *Reader, count uint64, most int) string {
	next, messages, lost, wrong := r.Next(), 0, uint64(0), 0
	for end := time.Now().Add(exchangeWithin); next < count && wrong == 0 && time.Now().Before(end); {
		n, gap, err := r.Poll(64, func(_ uint16, p []byte) {
			if string(p) != string(numbered(next, most)) {
				wrong = 1
			}
			next++
			messages++
		})
		if err != nil {
			return said(err)
		}
		if gap != (Gap{}) {
			if gap.First != next {
				wrong = 1
			}
			lost += gap.Last - gap.First + 1
			next = gap.Last + 1
		} else if n == 0 {
			r.Wait(Adaptive())
		}
	}
	return fmt.Sprintf("drained %d lost %d wrong %d code 0", messages, lost, wrong)
}

func statLine(r *ring, s State, why uint32, x ReaderStat) string {
	v := (&View{r}).Stat()
	lag := uint64(0)
	if x.Position > 0 || x.Messages > 0 {
		lag = v.Position - min(v.Position, x.Position)
	}
	return fmt.Sprintf("%s %d state %d %d lines %d epoch %d messages %d bytes %d full %d bells %d padding %d position %d read %d %d laps %d lost %d waits %d lag %d",
		r.info.Name, r.info.Discipline, s, why, r.info.Lines, r.info.Epoch, v.Messages, v.Bytes, v.Full, v.Bells, v.PaddingLines, v.Position,
		x.Messages, x.Bytes, x.Laps, x.Lost, x.Waits, lag)
}
