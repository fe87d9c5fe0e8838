package proxy

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"fire/policy/reason"
	"fire/transport"
)

// tunnel carries bytes both ways after a switch to WebSocket. Each half closes
// alone; an error in one ends both.
func (x *httpExchange) tunnel() error {
	x.closed = true
	x.ans = append(x.ans, x.got[x.used:x.have]...)
	x.used = x.have
	if err := x.writeNear(x.ans); err != nil {
		return err
	}
	t := &httpTunnel{idle: x.cfg.BodyTimeout, write: x.cfg.WriteTimeout, moved: x.gate.moved, giving: x.gate.giving}
	t.touch()
	up := make(chan error, 1)
	early := x.in[x.r:x.w]
	x.r = x.w
	go func() { up <- t.half(x.far, x.near, early, 1, 0) }()
	err := t.half(x.near, x.far, nil, 0, 1)
	if err != nil {
		x.cut(err)
	}
	if upErr := <-up; err == nil {
		err = upErr
	}
	return err
}

type httpTunnel struct {
	idle, write time.Duration
	moved       func(up, down int)
	giving      func(up, begins bool)
	last        atomic.Int64 // unix nanoseconds of the last byte in either direction
}

func (t *httpTunnel) touch() { t.last.Store(time.Now().UnixNano()) }

// half carries one direction; of up and down one is 1, to count by.
func (t *httpTunnel) half(to, from transport.Stream, early []byte, up, down int) error {
	lent := httpBufs.Get().(*[]byte)
	defer httpBufs.Put(lent)
	buf := *lent
	n, err := copy(buf, early), error(nil)
	for {
		if n > 0 {
			t.touch()
			t.moved(n*up, n*down)
			_ = to.SetWriteDeadline(time.Now().Add(t.write))
			t.giving(up == 1, true)
			_, err := to.Write(buf[:n])
			t.giving(up == 1, false)
			if err != nil {
				return t.broken(to, from, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return to.CloseWrite()
		}
		if err != nil && !t.onlyQuiet(err) {
			return t.broken(to, from, err)
		}
		_ = from.SetReadDeadline(time.Now().Add(t.idle))
		n, err = from.Read(buf)
	}
}

// onlyQuiet reports whether a time-out hit one direction while the other was busy.
func (t *httpTunnel) onlyQuiet(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && time.Since(time.Unix(0, t.last.Load())) < t.idle
}

func (t *httpTunnel) broken(to, from transport.Stream, err error) error {
	code := reason.Of(err, reason.AppReset)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		code = reason.IdleTimeout
	}
	to.Cancel(code)
	from.Cancel(code)
	return reason.New(code, "%w", err)
}
