package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const addressLine = "address "

// How long a child may take to tell its address and to end.
const (
	childStart = 20 * time.Second
	childStop  = 10 * time.Second
)

// Child is another process that serves an address; a Pair whose processor time is
// its own.
type Child struct {
	address string
	ctx     context.Context // ended: the child was told to end
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	in      io.Closer
	errText *tail
}

// StartChild runs the command, which must be one of ServeChild, and waits for its
// address. The child ends when Close is called, ctx ends, or this process dies.
func StartChild(ctx context.Context, args ...string) (*Child, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &Child{ctx: ctx, cmd: exec.CommandContext(ctx, args[0], args[1:]...), cancel: cancel, errText: &tail{}}
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(os.Interrupt) }
	c.cmd.WaitDelay = childStop
	c.cmd.Stderr = c.errText
	in, ierr := c.cmd.StdinPipe()
	out, oerr := c.cmd.StdoutPipe()
	if err := errors.Join(ierr, oerr); err != nil {
		cancel()
		return nil, err
	}
	c.in = in
	if err := c.cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	late := time.AfterFunc(childStart, cancel)
	defer late.Stop()
	lines := bufio.NewReaderSize(out, 4096)
	for {
		line, err := lines.ReadSlice('\n') // a longer line is an error: nothing grows here
		if text, ok := strings.CutPrefix(string(line), addressLine); ok && err == nil {
			c.address = strings.TrimSpace(text)
			return c, nil
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s told no address: %w", args[0], err), c.Close())
		}
	}
}

// Address is what the child listens on.
func (c *Child) Address() string { return c.address }

// PIDs is the child's one process.
func (c *Child) PIDs() []int { return []int{c.cmd.Process.Pid} }

// Close ends the child and waits for it. Ending because it was told to is no error.
func (c *Child) Close() error {
	c.in.Close()
	err := make(chan error, 1)
	go func() { err <- c.cmd.Wait() }()
	limit := time.NewTimer(childStop)
	defer limit.Stop()
	defer c.cancel()
	select {
	case e := <-err:
		if e != nil && c.ctx.Err() == nil {
			return fmt.Errorf("%s: %w: %s", c.cmd.Path, e, c.errText.text())
		}
		return nil
	case <-limit.C:
		c.cancel()
		<-err // WaitDelay bounds this
		return fmt.Errorf("%s did not end within %v", c.cmd.Path, childStop)
	}
}

// tail keeps the end of what a child says to stderr: the command's copier writes
// while whoever waits for the child's answer may read.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailBytes = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > tailBytes {
		t.b = bytes.Clone(t.b[len(t.b)-tailBytes:])
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
