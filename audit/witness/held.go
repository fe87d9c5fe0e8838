package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"fire/audit/tlog"
)

// held is what the witness knows of one log. Who has the turn may change it, under the
// witness's mutex; who has the turn or the mutex may read it.
type held struct {
	turn       chan struct{} // holds one value while somebody checks and stores
	head       tlog.Head     // the last that was cosigned; of size 0 before
	checkpoint []byte        // signed by the log, cosigned here; nil before the first
	broken     error         // why nothing is cosigned for this log any more
}

// take waits for the turn.
func (h *held) take(ctx context.Context) error {
	select {
	case h.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *held) give() { <-h.turn }

// A head's file is a line with the hash of the rest, and the cosigned checkpoint. It is named by
// the hash of the origin, as the monitoring prefix of C2SP tlog-witness names logs.
const (
	headMagic  = "fire-witness/1 "
	headSuffix = ".head"
)

// fileOf is the log's file, without headSuffix.
func fileOf(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}

func packHead(checkpoint []byte) []byte {
	sum := sha256.Sum256(checkpoint)
	return append(fmt.Appendf(nil, "%s%x\n", headMagic, sum), checkpoint...)
}

func unpackHead(raw []byte) (tlog.Head, []byte, error) {
	line, checkpoint, ok := bytes.Cut(raw, []byte("\n"))
	sum := sha256.Sum256(checkpoint)
	if !ok || string(line) != headMagic+hex.EncodeToString(sum[:]) {
		return tlog.Head{}, nil, errors.New("its first line is not the hash of the rest: it was changed")
	}
	head, err := tlog.Claimed(checkpoint)
	return head, checkpoint, err
}

// load reads all heads. One that cannot be read costs its log the witness, and no other.
func (w *Witness) load() error {
	names, err := sweep(w.heads)
	if err != nil {
		return err
	}
	for _, n := range names {
		key, ok := strings.CutSuffix(n, headSuffix)
		if !ok {
			continue
		}
		if len(w.logs) >= w.cfg.LogsMax {
			return fmt.Errorf("more than %d heads; raise the bound", w.cfg.LogsMax)
		}
		h := &held{turn: make(chan struct{}, 1)}
		w.logs[key] = h
		h.head, h.checkpoint, h.broken = w.read(key)
	}
	return nil
}

func (w *Witness) read(key string) (tlog.Head, []byte, error) {
	raw, err := w.heads.Read(key + headSuffix)
	if err != nil {
		return tlog.Head{}, nil, err
	}
	head, checkpoint, err := unpackHead(raw)
	if err == nil && fileOf(head.Origin) != key {
		err = fmt.Errorf("it is of %q", head.Origin)
	}
	if err != nil {
		return tlog.Head{}, nil, fmt.Errorf("file %s%s: %w; put back a copy that is not older than the log's last cosigned head", key, headSuffix, err)
	}
	return head, checkpoint, nil
}

// Reread reads a log's head again, after its file could not be written or read and the cause is
// gone. It never goes back behind a head that was cosigned by this process.
func (w *Witness) Reread(ctx context.Context, origin string) error {
	h, err := w.log(origin, false)
	if err != nil {
		return err
	}
	if err := h.take(ctx); err != nil {
		return err
	}
	defer h.give()
	head, checkpoint, err := w.read(fileOf(origin))
	if errors.Is(err, fs.ErrNotExist) {
		head, checkpoint, err = tlog.Head{Origin: origin, Root: tlog.Empty()}, nil, nil
	}
	if err == nil && (head.Size < h.head.Size || head.Size == h.head.Size && h.checkpoint != nil && head.Root != h.head.Root) {
		err = fmt.Errorf("the file of %s has a head of size %d, and size %d was cosigned; put back a newer copy", origin, head.Size, h.head.Size)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.broken = err; err == nil {
		h.head, h.checkpoint = head, checkpoint
	}
	return err
}

// log is what is held of a log; fresh makes it where there is none.
func (w *Witness) log(origin string, fresh bool) (*held, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := fileOf(origin)
	if h, ok := w.logs[key]; ok {
		return h, nil
	}
	if !fresh {
		return nil, fmt.Errorf("witness: nothing was ever cosigned for %q", origin)
	}
	if len(w.logs) >= w.cfg.LogsMax {
		return nil, fmt.Errorf("this witness has %d logs already, and takes no more", w.cfg.LogsMax)
	}
	h := &held{turn: make(chan struct{}, 1), head: tlog.Head{Origin: origin, Root: tlog.Empty()}}
	w.logs[key] = h
	return h, nil
}
