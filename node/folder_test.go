package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
