package bench

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPeerEndsWhenItsMeasurementIsKilled in the middle of a row of which it waits for the other
// process without a system call: it must not keep its core for ever.
func TestPeerEndsWhenItsMeasurementIsKilled(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	for _, table := range []string{RowBounce, RowPingPong} {
		command := self("bench", table)
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := cmd.Process.Pid // of env, which becomes this binary
		peer := ""
		until := func(what string, f func() bool) {
			t.Helper()
			for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					_ = cmd.Process.Kill()
					t.Fatalf("%s: not in time: %s", table, what)
				}
			}
		}
		until("the peer is started", func() bool {
			tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
			for _, task := range tasks {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
				if f := strings.Fields(string(b)); len(f) > 0 {
					peer = f[0]
				}
			}
			return peer != ""
		})
		time.Sleep(300 * time.Millisecond) // it is at work
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		until("the peer ends", func() bool {
			b, err := os.ReadFile("/proc/" + peer + "/stat")
			return err != nil || strings.Contains(string(b), ") Z ")
		})
	}
}
