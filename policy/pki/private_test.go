package pki

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestSecretRefRefusesLiteralsWithoutRepeatingThem(t *testing.T) {
	var c struct{ Key SecretRef }
	for _, literal := range []string{"hunter2secret", "fire1.hunter2secret", "file:hunter2secret", "cred:../hunter2secret", "cred:"} {
		_, err := toml.Decode("key = \""+literal+"\"", &c)
		if err == nil || strings.Contains(strings.ReplaceAll(err.Error(), "\""+literal+"\"", ""), "hunter2") && !strings.HasPrefix(literal, "file:") {
			t.Errorf("%s: %v", literal, err)
		}
		if c.Key != "" {
			t.Errorf("%s was taken", literal)
		}
	}
}

func TestSecretRefResolvesOnlyPrivateFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	must(t, os.WriteFile(path, []byte("s3cret\n"), 0o600))
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for _, ref := range []string{"file:" + path, "cred:token"} {
		var r SecretRef
		must(t, r.UnmarshalText([]byte(ref)))
		if b, err := r.Resolve(); err != nil || string(b) != "s3cret" {
			t.Errorf("%s: %q, %v", ref, b, err)
		}
	}
	must(t, os.Chmod(path, 0o644))
	for _, ref := range []SecretRef{SecretRef("file:" + path), "cred:token"} {
		if _, err := ref.Resolve(); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s, readable by all: %v", ref, err)
		}
	}
	must(t, os.WriteFile(path, []byte("\n"), 0o600))
	must(t, os.Chmod(path, 0o600))
	for _, ref := range []SecretRef{SecretRef("file:" + path), SecretRef("file:" + dir + "/absent"), SecretRef("file:" + dir), "cred:absent", "", "literal"} {
		if b, err := ref.Resolve(); err == nil {
			t.Errorf("%q gave %q", ref, b)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := SecretRef("cred:token").Resolve(); err == nil || !strings.Contains(err.Error(), "LoadCredential=token") {
		t.Errorf("without systemd: %v", err)
	}
}

func TestWritePrivateReplacesWholeAndLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("old"), 0o644))
	must(t, WritePrivate(path, []byte("new")))
	if b, err := ReadPrivate(path, 3); err != nil || string(b) != "new" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := ReadPrivate(path, 2); err == nil {
		t.Error("read beyond the bound")
	}
	if err := WritePrivate(filepath.Join(dir, "absent", "f"), nil); err == nil {
		t.Error("wrote into an absent folder")
	}
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("%d files", len(all))
	}
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	if _, err := ReadPrivate(filepath.Join(dir, "fifo"), 10); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a FIFO: %v", err)
	}
	if err := MakePrivateDir(path); err == nil {
		t.Error("a file passed for a folder")
	}
}

// TestPrivateFolderOfAnotherUserIsRefused: whoever owns the folder can put another root
// or token book in the place of ours, whatever the mode of the files.
func TestPrivateFolderOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	dir := filepath.Join(t.TempDir(), "state")
	must(t, MakePrivateDir(dir))
	must(t, os.Chown(dir, 12345, 12345))
	if err := MakePrivateDir(dir); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "12345") {
		t.Errorf("a folder of user 12345: %v", err)
	}
}
