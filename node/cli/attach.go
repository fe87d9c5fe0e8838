package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"fire/policy/reason"
	"fire/transport/channel"
	"fire/transport/shm"
)

func attachFlags(more ...flag) []flag {
	return append(more,
		flag{name: "cpu", kind: kindInt, value: "N", def: "-1", brief: "the processor to stay on, -1: any"},
		flag{name: "as", kind: kindString, value: "SERVICE", brief: "the service to be, when this user may be several"},
		flag{name: "attach", kind: kindString, value: "PATH", brief: "attach socket of the direct node; else $FIRE_DIRECT, else the one of this host"})
}

func (c *call) attachOptions() channel.Options {
	o := channel.Options{Socket: c.string("attach"), Channel: c.args[0], Service: c.string("as")}
	if o.Socket == "" {
		o.Socket = c.env("FIRE_DIRECT")
	}
	if dir := c.env("FIRE_RUNTIME_DIR"); o.Socket == "" && dir != "" { // as every other verb finds this host's fire
		o.Socket = filepath.Join(dir, channel.SocketName)
	}
	return o
}

// pinned ties the calling goroutine to the processor that was asked for.
func (c *call) pinned() (undo func(), err error) {
	cpu := c.int("cpu")
	if cpu == -1 {
		return func() {}, nil
	}
	return channel.Pin(int(cpu))
}

// sayFar warns of a processor that is far from the ring's memory.
func (c *call) sayFar(ring interface{ MemoryNode() (int, bool) }) {
	if cpu := int(c.int("cpu")); cpu >= 0 {
		if far := channel.FarMemory(cpu, ring); far != "" {
			c.say("%s", far)
		}
	}
}

func channelPublish(ctx context.Context, c *call) error {
	if t := c.int("type"); t < 0 || t > 1<<16-1 {
		return usage("", "type %d is not 0 to 65535", t)
	}
	undo, err := c.pinned()
	if err != nil {
		return err
	}
	defer undo()
	p, err := channel.OpenPublisher(ctx, c.attachOptions())
	if err != nil {
		return err
	}
	defer p.Close()
	c.sayFar(p)
	sent := 0
	err = eachLine(ctx, c.in, shm.MessageMax, func(line []byte) error {
		err := offer(ctx, p, uint16(c.int("type")), line)
		if err == nil {
			sent++
		}
		return err
	})
	c.say("%d %s sent", sent, plural(sent, "message", "messages"))
	return err
}

// eachLine hands over lines until the input or ctx ends, or each fails. A read of a terminal or
// a pipe cannot be ended: the goroutine that is in it ends with the input, or with the process.
func eachLine(ctx context.Context, in io.Reader, most int, each func(line []byte) error) error {
	lines, stop := make(chan []byte), make(chan struct{})
	defer close(stop)
	var failed error // before lines is closed
	go func() {
		defer close(lines)
		s := bufio.NewScanner(in)
		s.Buffer(nil, most+1)
		for s.Scan() {
			select {
			case lines <- bytes.Clone(s.Bytes()):
			case <-stop:
				return
			}
		}
		if failed = s.Err(); errors.Is(failed, bufio.ErrTooLong) {
			failed = fmt.Errorf("a line is longer than %d bytes, the longest message: it and what follows is not sent", most)
		}
	}()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return failed
			}
			if err := each(line); err != nil {
				return err
			}
		case <-ctx.Done():
			t := time.NewTimer(lineWithin)
			defer t.Stop()
			select {
			case line, ok := <-lines:
				if ok {
					return fmt.Errorf("stopped with a line of %d bytes, and perhaps more, read and not sent", len(line))
				}
				return failed
			case <-t.C: // it waits for input
				return nil
			}
		}
	}
}

// lineWithin is how long a line that was read takes to be here.
const lineWithin = 20 * time.Millisecond

// offerAgain is the pause before a full lane is tried again.
const offerAgain = time.Millisecond

func offer(ctx context.Context, p *channel.Publisher, typ uint16, b []byte) error {
	tick := time.NewTicker(offerAgain)
	defer tick.Stop()
	for {
		switch p.Offer(typ, b) {
		case shm.Sent:
			return nil
		case shm.TooLong:
			return fmt.Errorf("a line of %d bytes is too long for a message of this channel", len(b))
		case shm.Shut:
			_, why := p.State()
			return reason.New(why, "the channel was cut")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("stopped before the channel had room for the last line: it is not sent")
		}
	}
}

// channelMessage is one message as subscribe prints it.
type channelMessage struct {
	From  string `json:"from"`
	Type  uint16 `json:"type"`
	Bytes string `json:"bytes_hex"`
}

func channelSubscribe(ctx context.Context, c *call) error {
	o := c.attachOptions()
	if how := c.string("wait"); how != "channel" {
		o.Wait = how
	}
	undo, err := c.pinned()
	if err != nil {
		return err
	}
	defer undo()
	s, err := channel.OpenSubscriber(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	shown := 0
	h := channel.Handler{
		Message: func(from *channel.Source, typ uint16, p []byte) {
			shown++
			if shown == 1 {
				c.sayFar(from)
			}
			m := channelMessage{from.Service, typ, hex.EncodeToString(p)}
			err = printOne(c, "fire.channel.message/v1", m, func() { c.printf("%s %d %s\n", m.From, m.Type, printableHead(m.Bytes)) })
		},
		Gap: func(from *channel.Source, first, last uint64) {
			c.say("messages %d to %d of %s are lost: they were written over before they were read", first, last, from.Service)
		},
		Ended: func(from *channel.Source, why *reason.Error) { c.say("%s: %v", from.Service, why) },
	}
	for err == nil && ctx.Err() == nil && (c.int("count") == 0 || shown < int(c.int("count"))) {
		most := 1000
		if n := int(c.int("count")); n > 0 {
			most = n - shown
		}
		if _, over := s.Poll(most, &h); over != nil {
			return over
		}
		s.Wait()
	}
	return err
}
