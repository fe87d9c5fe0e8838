//go:build linux && (amd64 || arm64) && race

package proxy

import "syscall"

// The race detector takes a socket for a way to hand memory over, but sees only the
// calls of package syscall.

func rawRead(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	errno, _ := err.(syscall.Errno)
	return n, errno
}

func rawSend(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Write(int(fd), p)
	errno, _ := err.(syscall.Errno)
	return n, errno
}
