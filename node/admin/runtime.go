package admin

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// RuntimeDir is where this user's sockets and meter pages live: $FIRE_RUNTIME_DIR,
// /run/fire for root, $XDG_RUNTIME_DIR/fire, or a folder of the user's own in the
// temporary folder.
func RuntimeDir() string {
	if dir := os.Getenv("FIRE_RUNTIME_DIR"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return systemDir
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "fire")
	}
	return temporaryDir()
}

const systemDir = "/run/fire"

func temporaryDir() string { return filepath.Join(os.TempDir(), "fire-"+strconv.Itoa(os.Geteuid())) }

// RuntimeDirs are the folders to look into: this user's, and the system's beside it
// unless $FIRE_RUNTIME_DIR names one alone. In the temporary folder anybody may have
// made ours first; then it is left out.
func RuntimeDirs() []string {
	own := RuntimeDir()
	switch {
	case own == systemDir || os.Getenv("FIRE_RUNTIME_DIR") != "":
		return []string{own}
	case own == temporaryDir() && ruled(own) != nil:
		return []string{systemDir}
	}
	return []string{own, systemDir}
}

// MakeRuntimeDir makes a folder for sockets and meter pages, or checks that nobody but
// its owner rules over what lies in it.
func MakeRuntimeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%w; name a folder that you may write with FIRE_RUNTIME_DIR", err)
	}
	return ruled(dir)
}

// ruled says who else could put another file in the place of one in dir: its owner,
// whoever made a link to it, or everybody.
func ruled(dir string) error {
	for _, look := range []func(string) (fs.FileInfo, error){os.Lstat, os.Stat} {
		info, err := look(dir)
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return fmt.Errorf("%s belongs to user %d, who could put another file in the place of ours; run as that user, or name another folder with FIRE_RUNTIME_DIR", dir, st.Uid)
		}
		if info.IsDir() && info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return fmt.Errorf("everybody may write to %s and put another file in the place of ours; run: chmod o-w %s", dir, dir)
		}
	}
	return nil
}
