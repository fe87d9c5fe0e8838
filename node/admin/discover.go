package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fire/policy/reason"
)

// SocketPathBytesMax is sockaddr_un's limit less the final NUL (unix(7)).
const SocketPathBytesMax = 107 - 8 // the eight are for the private name it is bound under

// DevName is the socket name of a dev floor; it is no legal node name, so it never clashes.
const DevName = "_dev"

// DefaultSocket is the path for a node's name when none is configured.
func DefaultSocket(name string) string { return filepath.Join(RuntimeDir(), name+".sock") }

// Discover finds the socket to ask: explicit, then $FIRE_SOCKET, then a running dev
// floor, then the host's only node. note says which one of several was taken.
func Discover(ctx context.Context, explicit string) (path, note string, err error) {
	if explicit == "" {
		explicit = os.Getenv("FIRE_SOCKET")
	}
	if explicit != "" {
		return explicit, "", probe(ctx, explicit)
	}
	var alive, denied []string
	for _, dir := range RuntimeDirs() {
		found, _ := filepath.Glob(filepath.Join(dir, "*.sock"))
		for _, p := range found {
			switch err := probe(ctx, p); {
			case err == nil:
				alive = append(alive, p)
			case errors.Is(err, fs.ErrPermission):
				denied = append(denied, p)
			}
		}
	}
	return choose(alive, denied)
}

func choose(alive, denied []string) (path, note string, err error) {
	for _, p := range alive {
		if strings.TrimSuffix(filepath.Base(p), ".sock") == DevName {
			if len(alive) > 1 {
				note = "asking the dev floor; --socket PATH asks a node"
			}
			return p, note, nil
		}
	}
	switch {
	case len(alive) == 1:
		return alive[0], "", nil
	case len(alive) > 1:
		return "", "", &Error{Reason: "usage", Message: "several nodes run on this host: " + strings.Join(alive, ", "), Next: "choose one with --socket PATH"}
	case len(denied) > 0:
		return "", "", &Error{Reason: reason.NotPermitted.String(), Message: "a node runs on this host, but you may not ask it (" + denied[0] + ")",
			Next: "run the command as its user or as a member of its group"}
	}
	return "", "", &Error{Reason: "not_running", Message: "no fire runs on this host", Next: "start one with `fire dev` or `fire run`, or name its socket with --socket PATH"}
}

// probe connects once, so that a socket file left by a killed process is not taken.
func probe(ctx context.Context, path string) error {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("no fire answers at %s: %w", path, err)
	}
	return c.Close()
}
