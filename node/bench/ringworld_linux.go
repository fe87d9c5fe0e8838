//go:build amd64 || arm64

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"unsafe"

	"fire/transport/shm"

	"golang.org/x/sys/unix"
)

// ringWorld is this process and its peer, with everything mapped on both sides:
//
//	there    lane        this process to the peer
//	back     lane        the peer to this process
//	bulk     lane        the same, with more room: throughput
//	feed     broadcast   the same
//	word     a page      handed to and fro
type ringWorld struct {
	gate  *shm.Gate
	there *shm.Writer
	back  *shm.Reader
	bulk  *shm.Writer
	feed  *shm.Writer
	word  *atomic.Uint64

	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	errText *tail
	page    []byte
}

// The peer's descriptors.
const (
	fdThere = 3 + iota
	fdThereCursor
	fdBack
	fdBackCursor
	fdFeed
	fdFeedCursor
	fdGate
	fdWord
	fdBulk
	fdBulkCursor
)

// files are the memories before they are mapped; all are closed when both have them.
type ringFiles struct{ there, thereCursor, back, backCursor, feed, feedCursor, word, bulk, bulkCursor *os.File }

func (f *ringFiles) list(gate *os.File) []*os.File {
	return []*os.File{f.there, f.thereCursor, f.back, f.backCursor, f.feed, f.feedCursor, gate, f.word, f.bulk, f.bulkCursor}
}

func (f *ringFiles) close() {
	for _, x := range f.list(nil) {
		if x != nil {
			x.Close()
		}
	}
}

func makeRingFiles(lines, bulkLines uint64) (*ringFiles, error) {
	f := &ringFiles{}
	var err error
	data := func(to **os.File, name string, d shm.Discipline, lines uint64) {
		if err == nil {
			*to, err = shm.CreateData(shm.Spec{Name: name, Discipline: d, Lines: lines, Epoch: 1})
		}
	}
	cursor := func(to **os.File, name string) {
		if err == nil {
			*to, err = shm.CreateCursor(name, 1, 0)
		}
	}
	data(&f.there, "there", shm.Lane, lines)
	data(&f.back, "back", shm.Lane, lines)
	data(&f.bulk, "bulk", shm.Lane, bulkLines)
	data(&f.feed, "feed", shm.Broadcast, bulkLines)
	cursor(&f.thereCursor, "there")
	cursor(&f.backCursor, "back")
	cursor(&f.bulkCursor, "bulk")
	cursor(&f.feedCursor, "feed")
	if err == nil {
		var fd int
		if fd, err = unix.MemfdCreate("fire-bench-word", unix.MFD_CLOEXEC); err == nil {
			f.word = os.NewFile(uintptr(fd), "word")
			err = f.word.Truncate(4096)
		}
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// startRingWorld starts the peer and joins it. close ends both.
func startRingWorld(ctx context.Context, cfg RingConfig, peer []string) (w *ringWorld, err error) {
	files, err := makeRingFiles(cfg.Lines, cfg.BulkLines)
	if err != nil {
		return nil, err
	}
	defer files.close()
	w = &ringWorld{errText: &tail{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.gate, err = shm.CreateGate("bench", 1); err != nil {
		return w, err
	}
	if err = w.mapOwn(files); err != nil {
		return w, err
	}
	if err = w.startPeer(ctx, files, peer, cfg.Cores[1]); err != nil {
		return w, err
	}
	if err = w.expect("mapped"); err != nil {
		return w, err
	}
	for _, f := range []*os.File{files.thereCursor, files.back, files.bulkCursor, files.feedCursor} {
		if err = shm.Seal(f); err != nil {
			return w, err
		}
	}
	if _, err = w.there.AddReader(files.thereCursor); err != nil {
		return w, err
	}
	if _, err = w.bulk.AddReader(files.bulkCursor); err != nil {
		return w, err
	}
	if _, err = w.feed.AddReader(files.feedCursor); err != nil {
		return w, err
	}
	if w.back, err = shm.OpenReader(files.back, files.backCursor, w.gate.File()); err != nil {
		return w, err
	}
	if err = shm.Seal(files.backCursor); err != nil {
		return w, err
	}
	if err = w.tell("sealed"); err != nil {
		return w, err
	}
	return w, w.expect("ready")
}

func (w *ringWorld) mapOwn(f *ringFiles) (err error) {
	if w.there, err = shm.OpenWriter(f.there, w.gate.File()); err != nil {
		return err
	}
	if w.bulk, err = shm.OpenWriter(f.bulk, w.gate.File()); err != nil {
		return err
	}
	if w.feed, err = shm.OpenWriter(f.feed, w.gate.File()); err != nil {
		return err
	}
	if w.page, w.word, err = mapWord(f.word); err != nil {
		return err
	}
	return errors.Join(shm.Seal(f.there), shm.Seal(f.bulk), shm.Seal(f.feed))
}

func mapWord(f *os.File) ([]byte, *atomic.Uint64, error) {
	page, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, nil, fmt.Errorf("map the bounced word: %w", err)
	}
	return page, (*atomic.Uint64)(unsafe.Pointer(&page[0])), nil
}

func (w *ringWorld) startPeer(ctx context.Context, files *ringFiles, peer []string, core int) error {
	w.cmd = exec.CommandContext(ctx, peer[0], append(peer[1:], fmt.Sprint(core))...)
	w.cmd.ExtraFiles = files.list(w.gate.File())
	w.cmd.Stderr = w.errText
	w.cmd.WaitDelay = childStop
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	w.out = bufio.NewReaderSize(out, 1<<20)
	return w.cmd.Start()
}

func (w *ringWorld) tell(line string) error {
	_, err := io.WriteString(w.in, line+"\n")
	return err
}

func (w *ringWorld) expect(line string) error {
	got, err := w.out.ReadString('\n')
	if strings.TrimSpace(got) != line {
		return fmt.Errorf("the other process said %q instead of %q (%w): %s", got, line, err, w.errText.text())
	}
	return nil
}

// answer asks the peer for what it has counted since it began to serve.
func (w *ringWorld) answer() (peerCount, error) {
	var c peerCount
	line, err := w.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c)
	}
	if err != nil {
		return c, fmt.Errorf("the other process: %w: %s", err, w.errText.text())
	}
	return c, nil
}

func (w *ringWorld) close() error {
	var errs []error
	if w.cmd != nil && w.cmd.Process != nil {
		w.in.Close()
		if err := w.cmd.Wait(); err != nil && w.cmd.ProcessState != nil && !w.cmd.ProcessState.Success() {
			errs = append(errs, fmt.Errorf("the other process: %w: %s", err, w.errText.text()))
		}
	}
	for _, x := range []interface{ Close() error }{w.there, w.back, w.bulk, w.feed, w.gate} {
		switch x := x.(type) {
		case *shm.Writer:
			if x != nil {
				errs = append(errs, x.Close())
			}
		case *shm.Reader:
			if x != nil {
				errs = append(errs, x.Close())
			}
		case *shm.Gate:
			if x != nil {
				errs = append(errs, x.Close())
			}
		}
	}
	if w.page != nil {
		errs = append(errs, unix.Munmap(w.page))
	}
	return errors.Join(errs...)
}

// pin locks the goroutine to its thread and the thread to a core. The thread is not
// given back: it ends with its goroutine.
func pin(core int) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("core %d: %w; name two that this process may use with --cores", core, err)
	}
	return nil
}

// pinnable tries both cores on threads that end with it: one that is not there is one clear
// line, and not the end of a process that was to run on it.
func pinnable(cores [2]int) error {
	var errs [2]error
	for i, core := range cores {
		done := make(chan error, 1)
		go func() { done <- pin(core) }()
		errs[i] = <-done
	}
	return errors.Join(errs[:]...)
}

// switches are the context switches of this thread.
func switches() uint64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return uint64(u.Nvcsw + u.Nivcsw)
}
