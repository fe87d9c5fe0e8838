package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"fire/transport/feed"
)

// serve runs one SoupBinTCP connection: a login, then sequenced packets from the
// number that was asked for.
func (d *MarketData) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	defer stop()
	conn.SetReadDeadline(time.Now().Add(logonTimeout))
	in := soupReader{conn: conn}
	var p feed.Packet
	if err := in.next(&p); err != nil || p.Type != feed.Login {
		if err != io.EOF || in.end > 0 { // not a health check, which says nothing
			d.refused.Add(1)
		}
		return
	}
	login, err := feed.ParseLogin(p.Payload)
	if err != nil {
		d.refused.Add(1)
		return
	}
	next, why := d.admit(login)
	if why != 0 {
		d.refused.Add(1)
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		conn.Write(feed.AppendRejected(nil, why))
		return
	}
	d.accepted.Add(1)
	wake := make(chan struct{}, 1)
	d.mu.Lock()
	d.subscribers[wake] = true
	d.mu.Unlock()
	var wg sync.WaitGroup
	gone := make(chan struct{})
	wg.Go(func() { d.send(ctx, conn, next, wake, gone) })
	if err := in.heartbeats(ctx, feed.Logout); ctx.Err() == nil {
		d.log.Debug("subscriber gone", "peer", conn.RemoteAddr().String(), "err", err)
	}
	close(gone)
	wg.Wait()
	d.mu.Lock()
	delete(d.subscribers, wake)
	d.mu.Unlock()
}

// admit decides on a login and returns the first number to send.
func (d *MarketData) admit(l feed.LoginRequest) (next uint64, why byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.Session != "" && l.Session != d.session {
		return 0, feed.NoSuchSession
	}
	oldest := uint64(1)
	if d.last >= historyMax {
		oldest = d.last - historyMax + 2
	}
	switch {
	case l.Sequence == 0 || l.Sequence > d.last:
		return d.last + 1, 0
	case l.Sequence < oldest:
		return 0, feed.NoSuchSession
	}
	return l.Sequence, 0
}

// send writes what is new since next, and a heartbeat after a second of silence.
func (d *MarketData) send(ctx context.Context, conn net.Conn, next uint64, wake <-chan struct{}, gone <-chan struct{}) {
	defer conn.Close()
	out, _ := feed.AppendAccepted(make([]byte, 0, soupBurstBytes+1024), d.session, next)
	beat := time.NewTicker(feed.HeartbeatInterval)
	defer beat.Stop()
	quiet := false
	for {
		ends := false
		out, next, ends = d.gather(out, next)
		if len(out) == 0 && quiet {
			out, _ = feed.AppendPacket(out, feed.ServerHeartbeat, nil)
		}
		if ends || ctx.Err() != nil {
			out, _ = feed.AppendPacket(out, feed.EndOfSession, nil)
			ends = true
		}
		full := len(out) >= soupBurstBytes
		if len(out) > 0 {
			conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := conn.Write(out); err != nil || ends {
				return
			}
		}
		out, quiet = out[:0], false
		if full {
			continue
		}
		select {
		case <-wake:
		case <-beat.C:
			quiet = true
		case <-gone:
			return
		case <-ctx.Done():
		}
	}
}

// gather appends messages from next on, up to a burst. It ends when the ring has
// lost message next.
func (d *MarketData) gather(out []byte, next uint64) (_ []byte, n uint64, ends bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last >= historyMax && next <= d.last-historyMax {
		d.cut.Add(1)
		return out, next, true
	}
	for ; next <= d.last && len(out) < soupBurstBytes; next++ {
		out, _ = feed.AppendPacket(out, feed.Sequenced, d.ring[next%historyMax])
		d.sent.Add(1)
	}
	return out, next, false
}

// soupReader reads packets from a connection.
type soupReader struct {
	conn       net.Conn
	buf        []byte
	start, end int
	bytesMax   int
}

// next waits for one packet; it is valid until the next call.
func (r *soupReader) next(p *feed.Packet) error {
	if r.buf == nil {
		if r.bytesMax == 0 {
			r.bytesMax = soupPacketBytes
		}
		r.buf = make([]byte, max(4<<10, 2*r.bytesMax))
	}
	for {
		n, err := feed.Next(r.buf[r.start:r.end], p, r.bytesMax)
		if err == nil {
			r.start += n
			return nil
		}
		if err != feed.ErrShort {
			return err
		}
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
		n, err = r.conn.Read(r.buf[r.end:])
		if r.end += n; n == 0 && err != nil {
			return err
		}
	}
}

// buffered tells whether more bytes are there without waiting.
func (r *soupReader) buffered() bool { return r.end-r.start > 2 }

var errLoggedOut = errors.New("logged out")

// heartbeats reads and drops packets until the peer is silent for too long, leaves
// with a packet of type bye, or breaks the protocol.
func (r *soupReader) heartbeats(ctx context.Context, bye feed.Type) error {
	var p feed.Packet
	for ctx.Err() == nil {
		r.conn.SetReadDeadline(time.Now().Add(feed.SilenceMax))
		if ctx.Err() != nil {
			break
		}
		if err := r.next(&p); err != nil {
			return err
		}
		if p.Type == bye {
			return errLoggedOut
		}
	}
	return ctx.Err()
}
