package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// part is one running piece of a process. Its run function blocks until its context
// ends or it fails; it waits for everything it started.
type part struct {
	name       string
	run        func(context.Context) error
	stopWithin time.Duration // how long its stop may take before it is left behind
}

// exit is a part that returned.
type exit struct {
	index int
	err   error
}

// runParts starts parts in order and calls ready, then waits for ctx or for a part
// to return, which a part must not do by itself. It stops them in reverse order,
// each with its own deadline: a part may use what started before it until its own
// end. A part that overruns is named in the log and left, so that one that hangs
// cannot keep the others from ending well.
func runParts(ctx context.Context, log *slog.Logger, parts []part, ready func()) error {
	exits := make(chan exit, len(parts))
	cancels := make([]context.CancelFunc, len(parts))
	for i, p := range parts {
		// Not a child of ctx: the order of stopping is ours, not the context tree's.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancels[i] = cancel
		go func() { exits <- exit{i, p.run(own)} }()
	}
	ended := make([]bool, len(parts))
	ready()

	var failed error
	select {
	case <-ctx.Done():
	case e := <-exits:
		ended[e.index] = true
		failed = e.err
		if failed == nil {
			failed = errors.New("ended by itself")
		}
		failed = fmt.Errorf("%s: %w", parts[e.index].name, failed)
		log.Error("part failed, stopping", "part", parts[e.index].name, "err", e.err)
	}
	return errors.Join(failed, stopParts(log, parts, cancels, exits, ended))
}

func stopParts(log *slog.Logger, parts []part, cancels []context.CancelFunc, exits <-chan exit, ended []bool) error {
	var errs []error
	for i := len(parts) - 1; i >= 0; i-- {
		cancels[i]()
		if err := awaitPart(i, parts, exits, ended, &errs); err != nil {
			log.Error("part overran its stop and is left behind", "part", parts[i].name, "limit", parts[i].stopWithin)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// awaitPart waits for part i and notes any other that returns meanwhile.
func awaitPart(i int, parts []part, exits <-chan exit, ended []bool, errs *[]error) error {
	limit := time.NewTimer(parts[i].stopWithin)
	defer limit.Stop()
	for !ended[i] {
		select {
		case e := <-exits:
			ended[e.index] = true
			if e.err != nil && !errors.Is(e.err, context.Canceled) {
				*errs = append(*errs, fmt.Errorf("%s: %w", parts[e.index].name, e.err))
			}
		case <-limit.C:
			return fmt.Errorf("%s: did not stop within %v", parts[i].name, parts[i].stopWithin)
		}
	}
	return nil
}
