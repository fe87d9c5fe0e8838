package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// Misdeed is what a piece of evidence shows.
type Misdeed string

// The misdeeds. Only a fork is a proof by itself: two heads of one size with two roots, both signed
// by the log. The others are the word of who sent the request, and are kept so that somebody asks.
const (
	MisdeedFork     Misdeed = "fork"     // two roots of one size
	MisdeedShrunk   Misdeed = "shrunk"   // a smaller head was offered as the newest, by somebody who knew of the larger
	MisdeedUnproven Misdeed = "unproven" // a larger head whose growth from the held one was not proved
)

// Evidence is two signed heads of one log that do not go together.
type Evidence struct {
	Misdeed Misdeed     `json:"misdeed"`
	Origin  string      `json:"origin"`
	From    string      `json:"from,omitempty"` // who showed the second head
	Time    time.Time   `json:"time"`           // when, by this host's clock
	Held    string      `json:"held"`           // the checkpoint that was cosigned, with that cosignature
	Shown   string      `json:"shown"`          // the other one
	Old     int64       `json:"old"`            // what the request said of the held one's size
	Proof   []tlog.Hash `json:"proof,omitempty"`

	File string `json:"-"` // its name in the folder; "" if it could not be kept
	Err  error  `json:"-"` // why not
}

// ParseEvidence reads a file of evidence; Check says whether it is any.
func ParseEvidence(raw []byte) (Evidence, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var e Evidence
	if err := d.Decode(&e); err != nil {
		return Evidence{}, fmt.Errorf("witness: that is no evidence: %w", err)
	}
	if d.More() || !slices.Contains([]Misdeed{MisdeedFork, MisdeedShrunk, MisdeedUnproven}, e.Misdeed) {
		return Evidence{}, errors.New("witness: that is no evidence: misdeed unknown, or more than one")
	}
	return e, nil
}

// Format is the file, which anybody can read and check.
func (e Evidence) Format() []byte {
	raw, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		panic(err) // strings, numbers and a time of this era
	}
	return append(raw, '\n')
}

// Check verifies both heads under the log's keys, and that they are what Misdeed says. nil of a
// fork convicts the log, whoever brought it.
func (e Evidence) Check(vkeys ...string) error {
	keys, err := tlog.NewVerifiers(vkeys...)
	if err != nil {
		return err
	}
	held, err := keys.Open([]byte(e.Held))
	if err != nil {
		return fmt.Errorf("witness: the held head: %w", err)
	}
	shown, err := keys.Open([]byte(e.Shown))
	if err != nil {
		return fmt.Errorf("witness: the shown head: %w", err)
	}
	switch {
	case held.Origin != shown.Origin || held.Origin != e.Origin:
		return fmt.Errorf("witness: heads of two logs, %q and %q", held.Origin, shown.Origin)
	case e.Misdeed == MisdeedFork && held.Size == shown.Size && held.Root != shown.Root,
		e.Misdeed == MisdeedShrunk && held.Size > shown.Size,
		e.Misdeed == MisdeedUnproven && held.Size < shown.Size && tlog.CheckGrowth(e.Proof, shown, held) != nil:
		return nil
	}
	return fmt.Errorf("witness: sizes %d and %d are no %s", held.Size, shown.Size, e.Misdeed)
}

// name is the same for the same two heads, however often they are shown or cosigned.
func (e Evidence) name() string {
	sum := sha256.Sum256([]byte(said(e.Held) + said(e.Shown)))
	return fmt.Sprintf("%.16s-%s-%x.json", fileOf(e.Origin), e.Misdeed, sum[:8])
}

// said is a checkpoint's size and root.
func said(checkpoint string) string {
	h, err := tlog.Claimed([]byte(checkpoint))
	if err != nil {
		return "unreadable"
	}
	return fmt.Sprintf("%d %v", h.Size, h.Root)
}

func (w *Witness) evidenceOf(m Misdeed, h *held, r request) *Evidence {
	return &Evidence{Misdeed: m, Origin: r.origin, Time: w.cfg.Now().UTC(), Held: string(h.checkpoint), Shown: string(r.checkpoint), Old: r.old, Proof: r.proof}
}

// Observe compares a head that from holds to be the log's newest with the one that was cosigned.
// "" is of a head that goes with it as far as can be told without a proof: a larger one does.
func (w *Witness) Observe(ctx context.Context, from string, checkpoint []byte) (Misdeed, error) {
	claimed, err := tlog.Claimed(checkpoint)
	if err != nil {
		return "", err
	}
	s, refused := w.verify(claimed.Origin, checkpoint)
	if refused != nil {
		return "", fmt.Errorf("witness: %s", strings.TrimSpace(string(refused.Body)))
	}
	h, err := w.log(claimed.Origin, false)
	if err != nil {
		return "", err
	}
	if err := h.take(ctx); err != nil {
		return "", err
	}
	var found *Evidence
	r := request{old: h.head.Size, checkpoint: checkpoint, origin: claimed.Origin}
	switch {
	case h.checkpoint == nil:
	case s.head.Size < h.head.Size:
		found = w.evidenceOf(MisdeedShrunk, h, r)
	case s.head.Size == h.head.Size && s.head.Root != h.head.Root:
		found = w.evidenceOf(MisdeedFork, h, r)
	}
	h.give()
	if found == nil {
		return "", nil
	}
	found.From = from
	w.keep(*found)
	return found.Misdeed, nil
}

// EvidenceEntry adds one entry of the audit log to buf. The file is in it, so that the log keeps
// what a folder may lose, if it fits into an entry; its hash is in any case.
func EvidenceEntry(b *entry.Builder, buf []byte, at entry.Head, e Evidence) []byte {
	at.Kind = entry.Evidence
	raw := e.Format()
	sum := sha256.Sum256(raw)
	b.Begin(buf, at)
	b.Bytes(entry.Digest, sum[:])
	b.Uint(entry.Size, uint64(len(raw)))
	if len(raw) < b.Room()-otherBytes {
		b.Bytes(entry.Content, raw)
	}
	b.Str(entry.Actor, short(e.From))
	b.Str(entry.Verb, string(e.Misdeed))
	b.Str(entry.Object, short(e.Origin))
	b.Str(entry.Before, said(e.Held))
	b.Str(entry.After, said(e.Shown))
	b.Str(entry.Result, "refused")
	if e.Err != nil {
		b.Str(entry.Detail, short("not kept: "+e.Err.Error()))
	} else {
		b.Str(entry.Detail, e.File)
	}
	return b.Raw()
}

// otherBytes is room for what an entry of evidence says besides the file.
const otherBytes = 4096

// short cuts what somebody else wrote to a line that can be shown.
func short(s string) string {
	const bytesMax = 512
	s = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s[:min(len(s), bytesMax)]), "")
	return strings.TrimSpace(s)
}
