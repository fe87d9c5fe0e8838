package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"fire/node/admin"
	"fire/policy/reason"
)

// What a person needs to know when the direct node does not answer: who is attached goes on.
const (
	ringsGoOn    = "the rings of programs that are attached go on meanwhile, and `fire ring stat --offline` reads their counters where they are"
	startAgain   = "start it again, with `systemctl restart` of its unit or `fire run --role direct`: " + ringsGoOn + "; it takes them over. What happened until it ended is in direct/events.jsonl of its state folder"
	directHangs  = ringsGoOn
	noDirectHere = "`fire run --role direct` gives this host one"
)

// askingDirect is asking for what the direct node of this host knows: when that is dead or
// hangs, it says what is so, where, and what to do.
func askingDirect(do func(context.Context, *call, *admin.Client) error) func(context.Context, *call) error {
	ask := askingOr(directHangs, do)
	return func(ctx context.Context, c *call) error {
		err := ask(ctx, c)
		if err == nil {
			return nil
		}
		e, told := errors.AsType[*admin.Error](err)
		ended := admin.Ended(ctx)
		switch {
		case told && e.Reason == "not_running", errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist) && !told:
			if at := c.explicitSocket(); at != "" {
				return &admin.Error{Reason: reason.DirectUnreachable.String(), Message: "no direct node answers at " + at, Next: startAgain}
			}
			return deadDirect(ended)
		case told && e.Reason == reason.DirectUnreachable.String() && len(ended) > 0: // the proxy of this host answers
			return deadDirect(ended)
		}
		return err
	}
}

// deadDirect is the error for a host whose direct node has ended, or that never had one.
func deadDirect(ended []string) error {
	if len(ended) == 0 {
		return &admin.Error{Reason: reason.DirectUnreachable.String(), Message: "no direct node runs on this host", Next: noDirectHere + ", or name the socket of one with --socket PATH"}
	}
	return &admin.Error{Reason: reason.DirectUnreachable.String(), Next: startAgain,
		Message: fmt.Sprintf("no direct node runs on this host: the process of %s has ended", strings.Join(ended, ", "))}
}
