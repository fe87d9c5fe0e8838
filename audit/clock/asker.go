package clock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// asker asks one daemon what it knows. It keeps nothing open between two questions: a daemon
// that was restarted is asked like one that was not.
type asker interface {
	Ask(ctx context.Context) (Word, error)
}

// answerMax bounds one question, and replyMax the packets that one may cost: who answers
// something else does not keep us.
const (
	answerMax = 200 * time.Millisecond
	replyMax  = 8
)

// chrony asks chronyd.
type chrony struct {
	ways   []string
	wander int
	now    func() (wall, mono int64)
	seq    uint32
}

// Ask takes the first way that has an answer.
func (c *chrony) Ask(ctx context.Context) (Word, error) {
	err := errAbsent
	for _, way := range c.ways {
		var t Tracking
		wall, mono := c.now() // before the answer: the word is no younger than this
		if t, err = c.tracking(ctx, way); err == nil {
			return t.word(c.wander, wall, mono), nil
		}
	}
	return Word{}, err
}

var errAbsent = errors.New("nobody is there")

func (c *chrony) tracking(ctx context.Context, way string) (Tracking, error) {
	conn, done, err := dial(ctx, way, true)
	if err != nil {
		return Tracking{}, err
	}
	defer done()
	c.seq++
	if _, err := conn.Write(appendTrackingRequest(nil, c.seq)); err != nil {
		return Tracking{}, err
	}
	buf := make([]byte, 2*trackingBytes)
	for range replyMax {
		n, err := conn.Read(buf)
		if err != nil {
			return Tracking{}, err
		}
		t, err := parseTracking(buf[:n], c.seq)
		if !errors.Is(err, errOtherReply) {
			return t, err
		}
	}
	return Tracking{}, errOtherReply
}

// dial opens a datagram socket to an address or to the unix socket of that path. chronyd
// answers a unix socket by its path alone, so ours may have one (beside), in the same folder,
// and open to it: it runs as another user. Otherwise the kernel names ours.
func dial(ctx context.Context, way string, beside bool) (conn net.Conn, done func(), err error) {
	deadline := time.Now().Add(answerMax)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	var own string
	d := net.Dialer{Deadline: deadline}
	network := "udp"
	if strings.HasPrefix(way, "/") {
		network = "unixgram"
		if _, err := os.Stat(way); err != nil {
			return nil, nil, err
		}
		if !beside {
			d.Control = nameless
		} else {
			own = filepath.Join(filepath.Dir(way), "fire."+strconv.Itoa(os.Getpid())+".sock")
			os.Remove(own) // of a process before us with our number
			d.LocalAddr = &net.UnixAddr{Name: own, Net: network}
		}
	}
	conn, err = d.DialContext(ctx, network, way)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	done = func() {
		stop()
		conn.Close()
		if own != "" {
			os.Remove(own)
		}
	}
	if own != "" {
		if err := os.Chmod(own, 0o666); err != nil {
			done()
			return nil, nil, err
		}
	}
	if err := conn.SetDeadline(deadline); err != nil {
		done()
		return nil, nil, err
	}
	return conn, done, nil
}

// nameless lets the kernel name a unix socket (unix(7), autobind); net would leave it without a
// name, and nobody could answer.
func nameless(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.Bind(int(fd), &unix.SockaddrUnix{}) }); e != nil {
		return e
	}
	return err
}

// wayProblem says what is wrong with a way to a daemon.
func wayProblem(way string) string {
	if strings.HasPrefix(way, "/") {
		if len(way) > 80 {
			return fmt.Sprintf("%q is too long for a socket's path", way)
		}
		return ""
	}
	if _, _, err := net.SplitHostPort(way); err != nil {
		return fmt.Sprintf("%q is neither an absolute path nor host:port", way)
	}
	return ""
}
