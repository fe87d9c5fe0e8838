package admin

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadersCannotKeepTheOwnerOut: a local user who may read holds every connection
// that there is room for; the operator's verbs still work.
func TestReadersCannotKeepTheOwnerOut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act as another user")
	}
	dir, err := os.MkdirTemp("", "fire-admin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := copySelf(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{}
	path := serve(t, Config{Socket: filepath.Join(dir, "a.sock"), Readers: "everyone"}, m, m)
	cmd := exec.Command(exe, "-test.run=^TestActAsCrowd$", "-test.v")
	cmd.Env = append(os.Environ(), "FIRE_CROWD_SOCKET="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	holding := false
	for lines := bufio.NewScanner(out); !holding && lines.Scan(); {
		holding = strings.Contains(lines.Text(), "holding")
	}
	if !holding {
		t.Fatal("the crowd did not come")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	c := Dial(path)
	defer c.Close()
	if _, err := c.Apply(ctx, ApplyRequest{Name: "floor.toml"}); err != nil {
		t.Errorf("the owner is kept out: %v", err)
	}
}

// TestActAsCrowd runs in the re-executed binary under another uid.
func TestActAsCrowd(t *testing.T) {
	path := os.Getenv("FIRE_CROWD_SOCKET")
	if path == "" {
		t.Skip("only runs as the crowd of TestReadersCannotKeepTheOwnerOut")
	}
	for range 2 * ConnectionsMax {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: fire\r\n\r\n") // it stays idle then
	}
	os.Stdout.WriteString("holding\n")
	io.Copy(io.Discard, os.Stdin)
}
