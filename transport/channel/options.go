package channel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/shm"
)

// Options say which channel an end attaches to, and as whom.
type Options struct {
	Socket  string // of the direct node; "" looks where it is by default
	Channel string
	Service string // "" is the only service that this program may attach as
	// Dial reaches the direct node another way; nil: over Socket.
	Dial func(ctx context.Context) (*Wire, error)
	Wait string // overrides the channel's wait strategy: spin, spin-yield, adaptive; of a Subscriber also poll
}

// SocketName is the direct node's socket in the runtime folder of fire.
const SocketName = "attach"

// socket is where the direct node listens: told, from the environment (FIRE_DIRECT), or
// the first that exists of the system's and the user's.
func (o *Options) socket() (string, error) {
	if o.Dial != nil {
		return "this process", nil
	}
	if o.Socket != "" {
		return o.Socket, nil
	}
	if s := os.Getenv("FIRE_DIRECT"); s != "" {
		return s, nil
	}
	at := []string{filepath.Join("/run/fire", SocketName)}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		at = append(at, filepath.Join(dir, "fire", SocketName))
	}
	for _, s := range at {
		if _, err := os.Stat(s); err == nil {
			return s, nil
		}
	}
	return "", reason.New(reason.DirectUnreachable, "no direct node listens at %v; start one with `fire run --role direct`, or set FIRE_DIRECT", at)
}

func (o *Options) check() error {
	switch {
	case o.Channel == "":
		return errors.New("the channel has no name")
	case o.Wait != "" && strategyOf(o.Wait) == 0:
		return fmt.Errorf("wait strategy %q is none of spin, spin-yield, adaptive, poll", o.Wait)
	}
	return nil
}

// Numbers of the protocol for words of policy, by order.
var (
	kinds      = [...]policy.ChannelKind{1: policy.Orders, 2: policy.Broadcast, 3: policy.RPC}
	strategies = [...]policy.WaitStrategy{1: policy.WaitSpin, 2: policy.WaitSpinYield, 3: policy.WaitAdaptive, 4: policy.WaitPoll}
)

// KindNumber is the kind's byte in a welcome, 0 for one that is not known.
func KindNumber(k policy.ChannelKind) uint8 { return numberOf(kinds[:], k) }

// WaitNumber is the strategy's.
func WaitNumber(w policy.WaitStrategy) uint8 { return numberOf(strategies[:], w) }

func numberOf[T comparable](words []T, w T) uint8 {
	for i, v := range words {
		if i > 0 && v == w {
			return uint8(i)
		}
	}
	return 0
}

func strategyOf(word string) uint8 { return WaitNumber(policy.WaitStrategy(word)) }

const waitPoll = 4

// strategy is how a reader of this end waits without a doorbell.
func strategy(number uint8) shm.Strategy {
	switch number {
	case 1:
		return shm.Spin()
	case 2:
		return shm.SpinYield()
	}
	return shm.Adaptive()
}

// attachWithin bounds the talk of an attach; a healthy direct node answers in well under
// a millisecond.
const attachWithin = 5 * time.Second
