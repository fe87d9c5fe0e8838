package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fire/node/cli"
)

// asProgram makes the re-executed test binary the program itself.
const asProgram = "FIRE_E2E_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := cli.Run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr, os.Getenv)
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// real skips a test that needs more than Go, unless it was asked for.
func real(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getenv("FIRE_REAL") != "1" {
		t.Skip("needs real peers; set FIRE_REAL=1")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is absent", p)
		}
	}
}

// process is one started program with what it printed so far.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error

	mu  sync.Mutex
	out bytes.Buffer
}

// fireCommand is the program with its own runtime folder, so that tests never meet
// a fire that runs on the host.
func fireCommand(t *testing.T, runtimeDir string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return inRuntime(exec.Command(exe, args...), runtimeDir)
}

func inRuntime(cmd *exec.Cmd, runtimeDir string) *exec.Cmd {
	cmd.Env = append(os.Environ(), asProgram+"=1", "FIRE_RUNTIME_DIR="+runtimeDir, "NO_COLOR=1")
	return cmd
}

// start runs cmd until the test ends: then SIGTERM, and SIGKILL after ten seconds.
func start(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: cmd, done: make(chan struct{})}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		for lines := bufio.NewReader(r); ; {
			line, err := lines.ReadString('\n')
			p.mu.Lock()
			p.out.WriteString(line)
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		p.err = cmd.Wait()
		w.Close()
		<-copied
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s", name, tail(p.output(), 60))
		}
	})
	return p
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// signal sends sig; a process that has ended already is left alone.
func (p *process) signal(sig syscall.Signal) {
	select {
	case <-p.done:
	default:
		p.cmd.Process.Signal(sig)
	}
}

// stop ends the process politely and returns how it ended.
func (p *process) stop() error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		p.t.Errorf("%s does not stop on SIGTERM", p.name)
		p.kill()
	}
	return p.err
}

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// waitFor polls until cond holds, or fails the test after limit.
func waitFor(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if cond() {
			tick.Stop()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %v still not: %s", limit, what)
		case <-tick.C:
		}
	}
}

// printed waits for a line that holds text and returns it.
func (p *process) printed(limit time.Duration, text string) string {
	p.t.Helper()
	var line string
	waitFor(p.t, limit, p.name+" prints "+text, func() bool {
		select {
		case <-p.done:
			p.t.Fatalf("%s ended (%v) before it printed %q:\n%s", p.name, p.err, text, tail(p.output(), 40))
		default:
		}
		for _, l := range strings.Split(p.output(), "\n") {
			if strings.Contains(l, text) {
				line = l
				return true
			}
		}
		return false
	})
	return line
}

// ask runs one verb to its end and returns stdout, stderr and the exit code.
func ask(t *testing.T, runtimeDir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return finish(t, fireCommand(t, runtimeDir, args...))
}

func finish(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(60*time.Second, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	err := cmd.Wait()
	if err != nil && cmd.ProcessState.ExitCode() < 0 {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must runs a verb that has to succeed and returns its stdout.
func must(t *testing.T, runtimeDir string, args ...string) string {
	t.Helper()
	out, errs, code := ask(t, runtimeDir, args...)
	if code != 0 {
		t.Fatalf("fire %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// envelope is what every verb prints with -o json.
type envelope[T any] struct {
	Schema string `json:"schema"`
	Data   T      `json:"data"`
}

func jsonOf[T any](t *testing.T, text, schema string) T {
	t.Helper()
	var e envelope[T]
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	if e.Schema != schema {
		t.Fatalf("schema %q, want %q", e.Schema, schema)
	}
	return e.Data
}

// run executes a foreign program to its end and returns all it printed.
func run(t *testing.T, limit time.Duration, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, tail(string(out), 40))
	}
	return string(out)
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(all) > lines {
		all = append([]string{fmt.Sprintf("... %d lines before", len(all)-lines)}, all[len(all)-lines:]...)
	}
	return strings.Join(all, "\n")
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
