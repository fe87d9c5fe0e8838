package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"fire/audit/tlog"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// Config is what a witness needs. Where a bound is 0 it has its default.
type Config struct {
	Dir         string                                        // its own: one process at a time
	Key         *Key                                          //
	Logs        func(origin string) (vkeys []string, ok bool) // asked for each request; several goroutines call it
	Report      func(Evidence)                                // called for each new piece; nil: nobody
	LogsMax     int                                           // 1024
	RequestsMax int                                           // 64 at a time
	EvidenceMax int                                           // 128 files
	Now         func() time.Time                              // of evidence; time.Now

	open func(dir string) (disk, error) // a test's
}

// Witness cosigns heads of logs, each only after it has made sure that it is what it has cosigned
// before, and more.
type Witness struct {
	cfg      Config
	heads    disk
	evidence keeper
	slots    chan struct{} // one value for each request at work
	mux      *http.ServeMux

	mu   sync.Mutex // guards logs and what held says; never held across I/O
	logs map[string]*held
}

// Answer is what a request gets.
type Answer struct {
	Status int
	Type   string // of the content
	Body   []byte // signature lines, a size, or one line that says what is wrong
}

// Open reads what the witness has cosigned.
func Open(cfg Config) (*Witness, error) {
	cfg.LogsMax, cfg.RequestsMax, cfg.EvidenceMax = usual(cfg.LogsMax, 1024), usual(cfg.RequestsMax, 64), usual(cfg.EvidenceMax, 128)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.open == nil {
		cfg.open = func(dir string) (disk, error) { return openFolder(dir, true) }
	}
	if cfg.Key == nil || cfg.Logs == nil {
		return nil, errors.New("witness: no key, or no catalogue of logs")
	}
	w := &Witness{cfg: cfg, slots: make(chan struct{}, cfg.RequestsMax), mux: http.NewServeMux(), logs: map[string]*held{}}
	w.mux.HandleFunc("POST /add-checkpoint", w.serveAdd)
	w.mux.HandleFunc("GET /{log}/checkpoint", w.serveCheckpoint)
	var err error
	if w.heads, err = cfg.open(filepath.Join(cfg.Dir, "heads")); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	if err := w.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("witness: heads in %s: %w", cfg.Dir, err), w.heads.Close())
	}
	evidence, err := cfg.open(filepath.Join(cfg.Dir, "evidence"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("witness: %w", err), w.heads.Close())
	}
	if err := w.evidence.load(evidence, cfg.EvidenceMax); err != nil {
		return nil, errors.Join(fmt.Errorf("witness: evidence in %s: %w", cfg.Dir, err), w.heads.Close(), evidence.Close())
	}
	return w, nil
}

func usual(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// Close lets the folder go. Nothing may be asked any more.
func (w *Witness) Close() error { return errors.Join(w.heads.Close(), w.evidence.disk.Close()) }

// Add is one add-checkpoint request that came in some other way than HTTP. from is who sent it,
// as whoever carried it knows.
func (w *Witness) Add(ctx context.Context, from string, body []byte) Answer {
	if len(body) > RequestBytesMax {
		return refusal(http.StatusRequestEntityTooLarge, "the request has %d bytes, %d are allowed", len(body), RequestBytesMax)
	}
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
		return w.add(ctx, from, body)
	default:
		return w.busy()
	}
}

func (w *Witness) busy() Answer {
	return refusal(http.StatusServiceUnavailable, "%d requests are being answered; come again in a second", w.cfg.RequestsMax)
}

func (w *Witness) add(ctx context.Context, from string, body []byte) Answer {
	r, err := parseRequest(body)
	if err != nil {
		return refusal(http.StatusBadRequest, "malformed request: %v", err)
	}
	s, refused := w.verify(r.origin, r.checkpoint)
	if refused != nil {
		return *refused
	}
	h, err := w.log(r.origin, true)
	if err != nil {
		return refusal(http.StatusServiceUnavailable, "%v", err)
	}
	if err := h.take(ctx); err != nil {
		return refusal(http.StatusServiceUnavailable, "another request for %q takes too long: %v", r.origin, err)
	}
	answer, found := w.decide(h, r, s)
	h.give()
	if found != nil {
		found.From = from
		w.keep(*found)
	}
	return answer
}

// signed is a head whose signature was verified, with its text and the log's signatures.
type signed struct {
	head tlog.Head
	note *note.Note
}

// verify checks the signature under the keys that the catalogue names now.
func (w *Witness) verify(origin string, checkpoint []byte) (signed, *Answer) {
	refuse := func(status int, format string, args ...any) (signed, *Answer) {
		a := refusal(status, format, args...)
		return signed{}, &a
	}
	vkeys, ok := w.cfg.Logs(origin)
	if !ok {
		return refuse(http.StatusNotFound, "no log %q is known here", origin)
	}
	keys, err := tlog.NewVerifiers(vkeys...)
	if err != nil {
		return refuse(http.StatusInternalServerError, "the keys of %q cannot be read: %v", origin, err)
	}
	head, n, err := keys.OpenNote(checkpoint)
	switch {
	case errors.Is(err, tlog.ErrNoHead):
		return refuse(http.StatusBadRequest, "malformed checkpoint: %v", err)
	case err != nil:
		return refuse(http.StatusForbidden, "%v", err)
	}
	if c, err := torchwood.ParseCheckpoint(n.Text); err != nil || c.String() != n.Text { // no cosignature can be made of it
		return refuse(http.StatusBadRequest, "malformed checkpoint: its text is not in the canonical form")
	}
	return signed{head, n}, nil
}

// decide checks a head against the one that is held, and stores it. The caller has the turn.
func (w *Witness) decide(h *held, r request, s signed) (Answer, *Evidence) {
	if h.broken != nil {
		return refusal(http.StatusServiceUnavailable, "nothing is cosigned for %q until this witness has read its head again; its operator sees why", r.origin), nil
	}
	fork := s.head.Size == h.head.Size && s.head.Root != h.head.Root && h.checkpoint != nil
	var found *Evidence
	switch {
	case fork:
		found = w.evidenceOf(MisdeedFork, h, r)
	case r.old == h.head.Size && s.head.Size < h.head.Size: // who sends it knows of the larger one
		found = w.evidenceOf(MisdeedShrunk, h, r)
	}
	switch {
	case r.old > s.head.Size:
		return refusal(http.StatusBadRequest, "old size %d is larger than the checkpoint's %d", r.old, s.head.Size), found
	case r.old != h.head.Size:
		return Answer{http.StatusConflict, "text/x.tlog.size", fmt.Appendf(nil, "%d\n", h.head.Size)}, found
	case fork:
		return refusal(http.StatusUnprocessableEntity, "forked: size %d was cosigned with the root %v, this one is %v", h.head.Size, h.head.Root, s.head.Root), found
	}
	if err := tlog.CheckGrowth(r.proof, s.head, h.head); err != nil {
		if h.checkpoint != nil && s.head.Size > h.head.Size {
			found = w.evidenceOf(MisdeedUnproven, h, r)
		}
		return refusal(http.StatusUnprocessableEntity, "the proof does not lead from size %d to %d: %v", h.head.Size, s.head.Size, err), found
	}
	return w.cosign(h, s), nil
}

// cosign signs, stores, and only then answers. What a failed store has left on the disk nobody
// knows, so the log waits for Reread.
func (w *Witness) cosign(h *held, s signed) Answer {
	checkpoint, err := note.Sign(s.note, w.cfg.Key.signer)
	if err != nil {
		return refusal(http.StatusInternalServerError, "no cosignature could be made: %v", err)
	}
	if err := replace(w.heads, fileOf(s.head.Origin)+headSuffix, packHead(checkpoint)); err != nil {
		w.mu.Lock()
		h.broken = fmt.Errorf("size %d could not be stored: %w", s.head.Size, err)
		w.mu.Unlock()
		return refusal(http.StatusInternalServerError, "nothing was cosigned: size %d could not be stored", s.head.Size)
	}
	w.mu.Lock()
	h.head, h.checkpoint = s.head, checkpoint
	w.mu.Unlock()
	return Answer{http.StatusOK, "text/plain; charset=utf-8", lastLine(checkpoint)}
}

// lastLine is the signature that note.Sign has added.
func lastLine(checkpoint []byte) []byte {
	return checkpoint[bytes.LastIndexByte(checkpoint[:len(checkpoint)-1], '\n')+1:]
}

// refusal says in one line what is wrong, whatever was quoted in it.
func refusal(status int, format string, args ...any) Answer {
	text := fmt.Sprintf(format, args...)
	return Answer{status, "text/plain; charset=utf-8", []byte(strings.ReplaceAll(text, "\n", " ") + "\n")}
}

// Held is what the witness knows of one log.
type Held struct {
	Head       tlog.Head
	Checkpoint []byte // cosigned
	Err        error  // why nothing is cosigned for it
}

// Heads is what is held, by origin.
func (w *Witness) Heads() []Held {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Held
	for _, h := range w.logs {
		if h.checkpoint != nil || h.broken != nil {
			out = append(out, Held{h.head, h.checkpoint, h.broken})
		}
	}
	slices.SortFunc(out, func(a, b Held) int { return strings.Compare(a.Head.Origin, b.Head.Origin) })
	return out
}
