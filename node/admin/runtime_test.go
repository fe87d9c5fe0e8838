package admin

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestSocketFolderThatOthersRuleIsRefused: who may rename in the folder may put another
// socket in our place and read the floor files and tokens that operators send it.
func TestSocketFolderThatOthersRuleIsRefused(t *testing.T) {
	base := t.TempDir()
	open := filepath.Join(base, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{open: "chmod"}
	if os.Geteuid() == 0 {
		taken, link := filepath.Join(base, "taken"), filepath.Join(base, "link")
		for _, err := range []error{os.Mkdir(taken, 0o755), os.Chown(taken, 12345, 12345),
			os.Symlink(base, link), os.Lchown(link, 12345, 12345)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		dirs[taken], dirs[link] = "12345", "12345"
	}
	for dir, says := range dirs {
		s, err := Listen(t.Context(), Config{Socket: filepath.Join(dir, "a.sock"), Readers: "owner"}, &mesh{}, nil, &mesh{}, slog.New(slog.DiscardHandler))
		if err == nil {
			s.ln.Close()
			t.Errorf("listens in %s", dir)
		} else if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := os.Chmod(open, 0o777|os.ModeSticky); err != nil { // as the temporary folder itself
		t.Fatal(err)
	}
	if err := MakeRuntimeDir(open); err != nil {
		t.Errorf("a sticky folder: %v", err)
	}
	if err := MakeRuntimeDir(filepath.Join(base, "new", "deeper")); err != nil {
		t.Errorf("a folder that is made: %v", err)
	}
}

func TestRuntimeFolderInTheTemporaryFolderIsOursOrNotLookedInto(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root's is /run/fire")
	}
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("FIRE_RUNTIME_DIR", "")
	own := filepath.Join(os.TempDir(), "fire-"+strconv.Itoa(os.Geteuid()))
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(RuntimeDirs(), own) {
		t.Errorf("%v lacks %s", RuntimeDirs(), own)
	}
	if err := os.Chmod(own, 0o777); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(RuntimeDirs(), own) {
		t.Errorf("%s is looked into, where everybody may write", own)
	}
}
