package admin

import (
	"errors"
	"net"
	"os"
	"strconv"
)

// BindUnix makes a socket under a private name and moves it into place with its mode
// set: under its own name it never has a wider one, whatever the umask. It replaces a
// socket of that name; Close removes it. The path may have SocketPathBytesMax bytes.
func BindUnix(path string, mode os.FileMode) (net.Listener, error) {
	private := path + "." + strconv.Itoa(os.Getpid())
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: private, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(private, mode), os.Rename(private, path)); err != nil {
		ln.Close()
		os.Remove(private)
		return nil, err
	}
	return &boundUnix{ln, path}, nil
}

// boundUnix is a listener that knows where its socket went.
type boundUnix struct {
	*net.UnixListener
	path string
}

// Addr is where the socket is, not where it was made.
func (l *boundUnix) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close ends the listener and removes the socket, once.
func (l *boundUnix) Close() error {
	err := l.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	return errors.Join(err, os.Remove(l.path))
}
