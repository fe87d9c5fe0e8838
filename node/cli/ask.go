package cli

import (
	"context"
	"fmt"
	"time"

	"fire/node/admin"
)

// askFlags are the flags of every verb that asks a running fire.
func askFlags(more ...flag) []flag {
	return append(more, outputFlag(), socketFlag())
}

func socketFlag() flag {
	return flag{name: "socket", kind: kindString, value: "PATH", brief: "unix socket of the process to ask; else $FIRE_SOCKET, else the one that runs here"}
}

// ask finds the process to ask. Who calls it closes the client.
func (c *call) ask(ctx context.Context) (*admin.Client, error) {
	path, note, err := admin.Discover(ctx, c.explicitSocket())
	if err != nil {
		return nil, err
	}
	if note != "" {
		c.say("fire: %s", note)
	}
	return admin.Dial(path), nil
}

// explicitSocket is the one that was named.
func (c *call) explicitSocket() string {
	if at := c.string("socket"); at != "" {
		return at
	}
	return c.env("FIRE_SOCKET")
}

// asking runs do with a client and closes it. What can be refused without asking
// anybody, the checks refuse first.
func asking(do func(context.Context, *call, *admin.Client) error, checks ...func(*call) error) func(context.Context, *call) error {
	return askingOr("`fire stat` reads its counters without asking it", do, checks...)
}

// askingOr is asking with what to know when the process hangs.
func askingOr(hangs string, do func(context.Context, *call, *admin.Client) error, checks ...func(*call) error) func(context.Context, *call) error {
	return func(ctx context.Context, c *call) error {
		for _, check := range checks {
			if err := check(c); err != nil {
				return err
			}
		}
		client, err := c.ask(ctx)
		if err != nil {
			return err
		}
		defer client.Close()
		if err := answers(ctx, client, hangs); err != nil {
			return err
		}
		return do(ctx, c, client)
	}
}

// answerTimeout is long for a process that lives and short for a person who waits.
const answerTimeout = 5 * time.Second

// answers finds out whether the process lives: the kernel takes connections also for
// one that hangs.
func answers(ctx context.Context, client *admin.Client, hangs string) error {
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := client.Info(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return silent(ctx, client.Path(), hangs)
	}
	return err
}

// silent is the error for a process that hangs: which one, and what to do.
func silent(ctx context.Context, path, hangs string) error {
	e := &admin.Error{Reason: "not_answering", Message: "a fire runs here but does not answer within " + answerTimeout.String(), Next: hangs}
	switch pid, stopped := admin.Holder(ctx, path); {
	case stopped:
		e.Message += fmt.Sprintf(": process %d is stopped", pid)
		e.Next = fmt.Sprintf("`kill -CONT %d` lets it go on; %s", pid, hangs)
	case pid > 0:
		e.Message += fmt.Sprintf(": process %d hangs", pid)
	}
	return e
}
