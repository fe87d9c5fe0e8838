package unit

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// StatusBytesMax cuts the one line that `systemctl status` shows.
const StatusBytesMax = 200

// Notifier tells systemd how the process fares. All methods are safe for concurrent
// use and do nothing when the process was not started by systemd.
type Notifier struct {
	send  func(state string) error
	every time.Duration // half the watchdog's period, 0 = no watchdog
	log   *slog.Logger
}

// NewNotifier reads NOTIFY_SOCKET and WATCHDOG_USEC.
func NewNotifier(log *slog.Logger) *Notifier {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("watchdog time cannot be read, no watchdog is fed", "err", err)
		period = 0
	}
	return &Notifier{
		send:  func(state string) error { _, err := daemon.SdNotify(false, state); return err },
		every: period / 2, log: log,
	}
}

// Ready says that every socket is bound and the identity is held.
func (n *Notifier) Ready(status string) { n.tell(daemon.SdNotifyReady + "\nSTATUS=" + oneLine(status)) }

// Status is the line that `systemctl status` shows.
func (n *Notifier) Status(status string) { n.tell("STATUS=" + oneLine(status)) }

// Stopping says that an ordered stop has begun.
func (n *Notifier) Stopping(status string) {
	n.tell(daemon.SdNotifyStopping + "\nSTATUS=" + oneLine(status))
}

// Run feeds the watchdog until ctx ends, as long as alive returns nil. alive must
// return within half a period; it asks every part that must not hang.
func (n *Notifier) Run(ctx context.Context, alive func() error) error {
	if n.every <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(n.every)
	defer tick.Stop()
	for {
		if err := alive(); err != nil {
			n.log.Error("part hangs, the watchdog is not fed", "err", err)
			n.Status("hangs: " + err.Error())
		} else {
			n.tell(daemon.SdNotifyWatchdog)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *Notifier) tell(state string) {
	if err := n.send(state); err != nil {
		n.log.Warn("systemd cannot be told", "err", err)
	}
}

// oneLine keeps a status from adding assignments of its own to the datagram.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if len(s) > StatusBytesMax {
		s = strings.ToValidUTF8(s[:StatusBytesMax], "")
	}
	return s
}
