//go:build amd64 || arm64

package bench

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A rival is a program of its own that speaks lines of JSON:
//
//	it:   {"version":…,"settings":…,"threads":[writer,reader],"rows":["throughput 64",…]}
//	fire: warm_up 0 0 0                       what its compiler needs
//	it:   {…}
//	fire: throughput 64 300000000 0           table, bytes, nanoseconds, messages per second
//	it:   {"messages":…,"took_ns":…,"latency_ns":{"120":17,…}}
//
// and ends when its input does. Between its rows it must block. It is never believed more
// than it is checked (rivalAnswer), and what it does wrong ends it, not the bench.
type rival struct {
	told  RingRival
	hello rivalHello

	dir    string // its own, removed at the end
	cancel context.CancelFunc
	cmd    *exec.Cmd // nil before it runs and after it has ended
	in     io.WriteCloser
	lines  chan []byte // of its output; closed when that ends
	said   *tail
}

const (
	rivalCompile = time.Minute
	rivalGrace   = 20 * time.Second // for the first line, to warm up, and beyond what a row takes
	rivalStop    = 10 * time.Second // to end by itself
	rivalLine    = 1 << 20
	rivalRoom    = 512 << 20 // in /dev/shm; Aeron takes 196 MiB
)

// startRivals starts what cfg names. One that is not there has said why.
func startRivals(ctx context.Context, cfg RingConfig, progress func(string)) []*rival {
	var out []*rival
	for _, r := range []struct {
		name, given, flag string
		command           func(ctx context.Context, dir string) ([]string, error)
	}{
		{AeronName, cfg.AeronJar, "--aeron-jar", func(ctx context.Context, dir string) ([]string, error) {
			return aeronCommand(ctx, cfg.AeronJar, dir)
		}},
		{DisruptorName, cfg.Disruptor, "--disruptor", func(context.Context, string) ([]string, error) {
			return []string{cfg.Disruptor}, nil
		}},
	} {
		x := &rival{told: RingRival{Name: r.name}}
		if out = append(out, x); r.given == "" {
			x.told.NotRun = r.flag + " is not given"
			continue
		}
		progress("starting " + r.name)
		if err := x.start(ctx, cfg, r.command); err != nil {
			x.giveUp(err, progress)
		}
	}
	return out
}

// grace is rivalGrace, but for tests.
func (c *RingConfig) grace() time.Duration { return cmp.Or(c.rivalGrace, rivalGrace) }

// aeronCommand compiles the harness into dir.
func aeronCommand(ctx context.Context, jar, dir string) ([]string, error) {
	if _, err := os.Stat(jar); err != nil {
		return nil, err
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, errors.New("java is not on the PATH")
	}
	javac, err := exec.LookPath("javac")
	if err != nil {
		return nil, errors.New("javac is not on the PATH; a JDK has it")
	}
	source := filepath.Join(dir, "AeronRival.java")
	if err := os.WriteFile(source, aeronSource, 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, rivalCompile)
	defer cancel()
	cmd := exec.CommandContext(ctx, javac, "-cp", jar, "-d", dir, source)
	cmd.WaitDelay = time.Second
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("javac: %w: %s", err, oneLine(string(text)))
	}
	// As Aeron's own low-latency scripts do: no checks of bounds, no needless safepoints.
	return []string{java, "-XX:+UseParallelGC", "-XX:+UnlockDiagnosticVMOptions", "-XX:GuaranteedSafepointInterval=300000",
		"--add-opens", "java.base/jdk.internal.misc=ALL-UNNAMED", "-Dagrona.disable.bounds.checks=true",
		"-cp", jar + ":" + dir, "AeronRival", dir}, nil
}

// start runs it up to the end of its warm-up.
func (r *rival) start(ctx context.Context, cfg RingConfig, command func(context.Context, string) ([]string, error)) (err error) {
	parent := "/dev/shm" // where Aeron keeps its buffers, too
	var fs unix.Statfs_t
	if unix.Access(parent, unix.W_OK) != nil || unix.Statfs(parent, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < rivalRoom {
		parent = "" // to write where there is no room would kill it
	}
	if r.dir, err = os.MkdirTemp(parent, "fire-bench-"+r.told.Name+"-"); err != nil {
		return err
	}
	args, err := command(ctx, r.dir)
	if err != nil {
		return err
	}
	if err := r.exec(ctx, args); err != nil {
		return err
	}
	line, err := r.line(ctx, cfg.grace())
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &r.hello); err != nil {
		return fmt.Errorf("it said %q: %w", oneLine(string(line)), err)
	}
	if err := r.hello.check(); err != nil {
		return fmt.Errorf("it said %w", err)
	}
	r.told.Version, r.told.Settings = oneLine(r.hello.Version), oneLine(r.hello.Settings)
	for i, core := range cfg.Cores {
		if err := r.pin(r.hello.Threads[i], core); err != nil {
			return err
		}
	}
	_, err = r.ask(ctx, "warm_up 0 0 0", cfg.grace())
	return err
}

// exec starts it as the leader of a process group, so that its children end with it.
func (r *rival) exec(ctx context.Context, args []string) error {
	ctx, cancel := context.WithCancel(ctx)
	cmd, said := exec.CommandContext(ctx, args[0], args[1:]...), &tail{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	cmd.Stderr = said
	in, ierr := cmd.StdinPipe()
	out, oerr := cmd.StdoutPipe()
	err := errors.Join(ierr, oerr)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil { // then there is nothing to close
		cancel()
		return err
	}
	r.cmd, r.cancel, r.said, r.in, r.lines = cmd, cancel, said, in, make(chan []byte, 1)
	go func() { // ends with the output, which close sees to
		defer close(r.lines)
		s := bufio.NewScanner(out)
		s.Buffer(nil, rivalLine)
		for s.Scan() {
			select {
			case r.lines <- append([]byte(nil), s.Bytes()...):
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

// pin binds a thread of the rival's own to a core. The number is its word, so it is looked up.
func (r *rival) pin(thread, core int) error {
	group, err := unix.Getpgid(thread)
	if err != nil || thread <= 0 || group != r.cmd.Process.Pid {
		return fmt.Errorf("thread %d is not one of its own", thread)
	}
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(thread, &set); err != nil {
		return fmt.Errorf("core %d: %w", core, err)
	}
	return nil
}

func (r *rival) line(ctx context.Context, limit time.Duration) ([]byte, error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case line, ok := <-r.lines:
		if !ok {
			r.cancel()
			_ = r.cmd.Wait() // so that all it has said is there; close does not mind
			return nil, fmt.Errorf("it ended: %s", oneLine(r.said.text()))
		}
		return line, nil
	case <-late.C:
		return nil, fmt.Errorf("it said nothing for %v %s", limit, oneLine(r.said.text()))
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *rival) ask(ctx context.Context, line string, limit time.Duration) (a rivalAnswer, err error) {
	if _, err := io.WriteString(r.in, line+"\n"); err != nil {
		return a, fmt.Errorf("it takes no more: %w: %s", err, oneLine(r.said.text()))
	}
	got, err := r.line(ctx, limit)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(got, &a); err != nil {
		return a, fmt.Errorf("it said %q: %w", oneLine(string(got)), err)
	}
	return a, nil
}

// measure adds one row, when the rival has it and still runs.
func (r *rival) measure(ctx context.Context, table string, size int, cfg RingConfig, rows *ringRows) error {
	if r.told.NotRun != "" || !r.hello.does(table, size) {
		return nil
	}
	a, err := r.ask(ctx, fmt.Sprintf("%s %d %d %d", table, size, int64(cfg.RoundTime), cfg.Rate), cfg.RoundTime+cfg.grace())
	if err != nil {
		return err
	}
	row, err := a.row(r.told.Name, table, size, int64(cfg.RoundTime), int64(cfg.RoundTime+cfg.grace()))
	if err == nil {
		rows.add(row)
	}
	return err
}

// turn is one round, in which all measure the same row directly after each other. Every
// other round the rivals go first: what disturbs the machine disturbs all alike.
type turn struct {
	round    int
	rivals   []*rival
	progress func(string)
}

// take runs one row of all. own measures fire's; an error is own's, or ctx's end.
func (t turn) take(ctx context.Context, cfg RingConfig, table string, size int, rows *ringRows, own func() error) error {
	if t.round%2 == 0 {
		if err := own(); err != nil {
			return err
		}
	}
	for _, r := range t.rivals {
		if err := r.measure(ctx, table, size, cfg, rows); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			r.giveUp(fmt.Errorf("%s of %d B in round %d: %w", table, size, t.round+1, err), t.progress)
		}
	}
	if t.round%2 == 1 {
		if err := own(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// giveUp ends a rival that has failed and says so once.
func (r *rival) giveUp(err error, progress func(string)) {
	r.told.NotRun = oneLine(err.Error())
	progress(r.told.Name + " not run: " + r.told.NotRun)
	r.close()
}

// close lets it end by itself, else kills it and its children, and waits.
func (r *rival) close() {
	if r.cmd != nil {
		if r.told.NotRun != "" {
			r.cancel()
		}
		r.in.Close()
		late := time.AfterFunc(rivalStop, r.cancel)
		for range r.lines { // nobody listens any more
		}
		_ = r.cmd.Wait() // an error by now is its own affair
		late.Stop()
		_ = unix.Kill(-r.cmd.Process.Pid, unix.SIGKILL) // what it has left behind
		r.cancel()
		r.cmd = nil
	}
	if r.dir != "" {
		os.RemoveAll(r.dir)
		r.dir = ""
	}
}

// oneLine keeps the beginning of a text, which may be anybody's, fit for a table.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(c rune) bool { return c <= ' ' || c == 0x7f }), " ")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}
