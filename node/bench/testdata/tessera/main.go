// Tessera is the rival of `fire bench audit --tessera`: a log of transparency-dev/tessera on its POSIX
// driver, without antispam. It appends as fire's bench does, from so many goroutines, each of which
// waits for its entry's index, and ends when a published checkpoint covers all of them.
//
//	go build -o /tmp/tessera . && fire bench audit --tessera /tmp/tessera
//
// It prints one line: entries, seconds until the last index, seconds until the checkpoint.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	dir := flag.String("dir", "", "an empty folder")
	workers := flag.Int("workers", 256, "goroutines")
	last := flag.Duration("time", 5*time.Second, "for so long entries are appended")
	size := flag.Int("bytes", 256, "of an entry")
	flag.Parse()
	if err := run(*dir, *workers, *last, *size); err != nil {
		fmt.Fprintln(os.Stderr, "tessera:", err)
		os.Exit(1)
	}
}

func run(dir string, workers int, last time.Duration, size int) error {
	ctx := context.Background()
	skey, _, err := note.GenerateKey(rand.Reader, "rival")
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return err
	}
	// Its best here: the shortest interval that the driver takes, and a batch as soon as every
	// goroutine waits. With shorter ages it writes more files for fewer entries, and is slower.
	o := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithCheckpointInterval(100*time.Millisecond).
		WithBatching(uint(workers), 250*time.Millisecond).WithPushback(uint(4 * max(1024, workers)))
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, o)
	if err != nil {
		return err
	}
	var done atomic.Int64
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	start := time.Now()
	for g := range workers {
		all.Go(func() {
			b := make([]byte, size)
			for n := 0; time.Since(start) < last; n++ {
				copy(b, fmt.Sprintf("%d %d ", g, n))
				for {
					_, err := appender.Add(ctx, tessera.NewEntry(append([]byte(nil), b...)))()
					if err == nil {
						done.Add(1)
						break
					}
					if !errors.Is(err, tessera.ErrPushback) {
						failed.Store(&err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	indexed, entries := time.Since(start), done.Load()
	for {
		cp, err := reader.ReadCheckpoint(ctx)
		if err == nil {
			lines := strings.SplitN(string(cp), "\n", 3)
			if n, err := strconv.ParseInt(lines[1], 10, 64); err == nil && n >= entries {
				break
			}
		}
		if time.Since(start) > 2*time.Minute {
			return errors.New("no checkpoint covers the entries")
		}
		time.Sleep(time.Millisecond)
	}
	fmt.Printf("%d %.6f %.6f\n", entries, indexed.Seconds(), time.Since(start).Seconds())
	return shutdown(ctx)
}
