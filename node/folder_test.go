package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStateFolderHasOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	release, err := holdFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holdFolder(dir); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d, uses the state folder %s", os.Getpid(), dir)) {
		t.Errorf("%v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := holdFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestFoldersOfKilledProcessesAreRemovedAndOthersKept(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	old := time.Now().Add(-time.Hour)
	make := func(name string) (dir string, release func() error) {
		dir = filepath.Join(os.TempDir(), throwAwayName+name)
		release, err := holdFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
		return dir, release
	}
	dead, release := make("dead")
	release()
	alive, release := make("alive")
	defer release()
	young, release := make("young")
	release()
	if err := os.Chtimes(young, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(os.TempDir(), throwAwayName+"foreign") // it has no lock: not ours
	if err := errors.Join(os.Mkdir(foreign, 0o700), os.Chtimes(foreign, old, old)); err != nil {
		t.Fatal(err)
	}
	dir, err := throwAway()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dead, err)
	}
	for _, keep := range []string{alive, young, foreign, dir} {
		if _, err := os.Stat(keep); err != nil {
			t.Error(err)
		}
	}
}
