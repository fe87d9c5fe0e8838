package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"fire/transport/http1"
)

// checker finds out whether one application works.
type checker struct {
	service string
	address string
	how     Health
	now     chan struct{} // of one: check at once
}

func newChecker(service string, s Service) *checker {
	return &checker{service: service, address: s.Address, how: s.Health.filled(), now: make(chan struct{}, 1)}
}

const (
	healthOutputMax = 4 << 10 // bytes of a command's output or an HTTP head
	hurryPause      = 20 * time.Millisecond
	firstCheck      = 50 * time.Millisecond // at the latest: nobody calls an endpoint that was never checked
)

// watchHealth checks until ctx ends and puts each change on the board at once.
func (a *Agent) watchHealth(ctx context.Context, c *checker) {
	j := judge{rise: c.how.Rise, fall: c.how.Fall}
	timer := time.NewTimer(rand.N(min(c.how.Interval, firstCheck)) + 1) // not all in step
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.now:
			if rest := hurryPause - time.Since(last); rest > 0 { // a storm of failures is not a storm of checks
				timer.Reset(rest)
				continue
			}
		case <-timer.C:
		}
		last = time.Now()
		err := c.check(ctx)
		if ctx.Err() != nil {
			return
		}
		if j.observe(err) {
			a.board.setHealth(c.service, j.healthy, j.why)
			if j.healthy {
				a.log.Info("service is healthy", "svc", c.service)
			} else {
				a.log.Warn("service is not healthy", "svc", c.service, "err", j.why)
			}
		}
		timer.Reset(c.how.Interval)
	}
}

// judge turns single results into a state that does not flap.
type judge struct {
	rise, fall int

	known   bool
	healthy bool
	why     string // of not being healthy

	streak string // what the newest results say against that: another reason, or "" for the other state
	run    int    // how many in a row
}

// observe takes one result and tells whether the state or its reason changed. Every
// change is news for the whole mesh, so a reason must last as long as a state.
func (j *judge) observe(err error) bool {
	good, why, need := err == nil, "", j.rise
	if !good {
		why, need = oneLine(err.Error()), j.fall
	}
	if j.known && good == j.healthy && why == j.why {
		j.run = 0
		return false
	}
	streak := why
	if good != j.healthy {
		streak = ""
	}
	if streak != j.streak {
		j.run = 0
	}
	j.streak, j.run = streak, j.run+1
	if j.known && j.run < need && !(j.healthy && definite(err)) {
		return false
	}
	j.known, j.healthy, j.why, j.run = true, good, why, 0
	return true
}

// definite tells a proof that nobody listens from what may be a pause.
func definite(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}

// check does one check within the time limit.
func (c *checker) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.how.Timeout)
	defer cancel()
	switch c.how.Type {
	case CheckHTTP:
		return c.checkHTTP(ctx)
	case CheckCommand:
		return c.checkCommand(ctx)
	case CheckTCP:
		conn, err := c.dial(ctx)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return nil
}

func (c *checker) dial(ctx context.Context) (net.Conn, error) {
	network, addr := "tcp", c.address
	if path, ok := strings.CutPrefix(c.address, "unix:"); ok {
		network, addr = "unix", path
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		return nil, fmt.Errorf("no connection to %s within %s", c.address, c.how.Timeout)
	}
	return conn, err
}

// checkHTTP asks once and reads one head, with the proxy's own strict framer.
func (c *checker) checkHTTP(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // fails only on a closed socket, which the write shows
	}
	host := c.address
	if strings.HasPrefix(host, "unix:") {
		host = "localhost"
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: fire-health\r\nAccept: */*\r\nConnection: close\r\n\r\n", c.how.Path, host); err != nil {
		return fmt.Errorf("GET %s: the connection broke", c.how.Path) // the error's own text has a port that changes each time
	}
	var r http1.Response
	buf := make([]byte, 0, healthOutputMax)
	for len(buf) < cap(buf) {
		n, err := conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch _, perr := r.Parse(buf, healthOutputMax, http1.Asked{}); {
		case perr == nil:
			return statusError(c.how.Path, r.Status)
		case !errors.Is(perr, http1.ErrShort):
			return fmt.Errorf("GET %s: %w", c.how.Path, perr)
		}
		if err == io.EOF {
			return fmt.Errorf("GET %s: the answer ends early", c.how.Path)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("GET %s: no answer within %s", c.how.Path, c.how.Timeout)
		}
		if err != nil {
			return fmt.Errorf("GET %s: the connection broke", c.how.Path)
		}
	}
	return fmt.Errorf("GET %s: the head of the answer is larger than %d bytes", c.how.Path, healthOutputMax)
}

func statusError(path string, status int) error {
	if status >= 200 && status < 400 {
		return nil
	}
	return fmt.Errorf("GET %s: status %d", path, status)
}

// checkCommand runs the program in its own process group, so that a time-out ends
// its children, too.
func (c *checker) checkCommand(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.how.Command[0], c.how.Command[1:]...)
	out := &capped{max: healthOutputMax}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "FIRE_SERVICE=" + c.service, "FIRE_ADDRESS=" + c.address}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // a grandchild that kept the pipe does not hold us
	err := cmd.Run()
	if ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("%s: no end within %s", c.how.Command[0], c.how.Timeout)
	}
	if err == nil {
		return nil
	}
	if said := oneLine(out.String()); said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// capped keeps the first max bytes and takes the rest without keeping it.
type capped struct {
	buf bytes.Buffer
	max int
}

func (c *capped) Write(p []byte) (int, error) {
	c.buf.Write(p[:min(len(p), c.max-c.buf.Len())])
	return len(p), nil
}

func (c *capped) String() string { return c.buf.String() }

// oneLine is the first line, printable and short, for logs and the wire.
func oneLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return ' '
		}
		return r
	}, s)
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
