package tlog

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// Proof is one entry with all that is needed to check it: the path to a signed head.
type Proof struct {
	Index      int64
	Entry      []byte
	Path       []Hash
	Checkpoint []byte // signed by the log, cosigned by witnesses
}

// What is wrong with a proof. Errors of Check wrap one of these, or one of a head's.
var (
	ErrNoProof    = errors.New("that is no proof of an entry")
	ErrEntry      = errors.New("the entry was changed")
	ErrIndex      = errors.New("the index was changed")
	ErrPath       = errors.New("a hash of the path, or its length, was changed")
	ErrUncosigned = errors.New("too few of the policy's witnesses have signed the head")
)

// extraMagic begins what a proof file carries besides the format's own lines. None of it is
// believed: it makes the file whole (the entry), and tells which part was changed.
const extraMagic = "fire-entry/1\n"

// Format writes the file: C2SP tlog-proof, its extra line with the entry.
func (p *Proof) Format() []byte {
	leaf := Leaf(p.Entry)
	extra := append([]byte(extraMagic), leaf[:]...)
	extra = binary.BigEndian.AppendUint64(extra, uint64(p.Index))
	extra = append(extra, p.Entry...)
	return torchwood.FormatProofWithExtraData(p.Index, extra, p.Path, p.Checkpoint)
}

// ParseProof reads the file; nothing of it is verified.
func ParseProof(file []byte) (*Proof, error) {
	p, _, _, err := parseProof(file)
	return p, err
}

func parseProof(file []byte) (p *Proof, leaf Hash, index int64, err error) {
	extra, err := torchwood.ProofExtraData(file)
	if err != nil {
		return nil, leaf, 0, fmt.Errorf("%w: %w", ErrNoProof, err)
	}
	rest, ok := bytes.CutPrefix(extra, []byte(extraMagic))
	if !ok || len(rest) < HashBytes+8 {
		return nil, leaf, 0, fmt.Errorf("%w: it holds no entry", ErrNoProof)
	}
	copy(leaf[:], rest)
	index = int64(binary.BigEndian.Uint64(rest[HashBytes:]))
	p = &Proof{Entry: rest[HashBytes+8:]}
	head, checkpoint, ok := bytes.Cut(file, []byte("\n\n"))
	if !ok {
		return nil, leaf, 0, fmt.Errorf("%w: it ends before the head", ErrNoProof)
	}
	p.Checkpoint = checkpoint
	lines := strings.Split(string(head), "\n")
	if len(lines) < 3 || !strings.HasPrefix(lines[2], "index ") {
		return nil, leaf, 0, fmt.Errorf("%w: it has no index", ErrNoProof)
	}
	if lines[1] != "extra "+base64.StdEncoding.EncodeToString(extra) { // one file has one form
		return nil, leaf, 0, fmt.Errorf("%w: its extra line is not written as it was", ErrNoProof)
	}
	if p.Index, err = strconv.ParseInt(lines[2][len("index "):], 10, 64); err != nil || p.Index < 0 || lines[2] != fmt.Sprintf("index %d", p.Index) {
		return nil, leaf, 0, fmt.Errorf("%w: its index is no number", ErrNoProof)
	}
	for _, l := range lines[3:] {
		b, err := base64.StdEncoding.DecodeString(l)
		if err != nil || len(b) != HashBytes || base64.StdEncoding.EncodeToString(b) != l { // one hash has one form
			return nil, leaf, 0, fmt.Errorf("%w: %q is no hash", ErrPath, l)
		}
		p.Path = append(p.Path, Hash(b))
	}
	return p, leaf, index, nil
}

// Check verifies the file under a policy: the head's signatures, then the path from the entry
// to its root. The proof it returns is true; what an error says of the parts is only likely.
func Check(file []byte, policy *Policy) (*Proof, Head, error) {
	p, leaf, index, err := parseProof(file)
	if err != nil {
		return nil, Head{}, err
	}
	head, err := policy.Open(p.Checkpoint)
	if err != nil {
		return nil, Head{}, err
	}
	if err = torchwood.VerifyProof(policy.policy, Leaf(p.Entry), file); err == nil && leaf == Leaf(p.Entry) && index == p.Index {
		return p, head, nil
	} else if err == nil {
		return nil, head, fmt.Errorf("%w: what it notes beside the entry was changed, though the entry itself is true", ErrNoProof)
	}
	switch {
	case Leaf(p.Entry) != leaf:
		return nil, head, fmt.Errorf("%w: its hash is %v, and was %v", ErrEntry, Leaf(p.Entry), leaf)
	case p.Index != index:
		return nil, head, fmt.Errorf("%w: it is %d, and was %d", ErrIndex, p.Index, index)
	case p.Index >= head.Size:
		return nil, head, fmt.Errorf("%w: it is %d, and the head covers %d entries", ErrIndex, p.Index, head.Size)
	}
	return nil, head, fmt.Errorf("%w: entry %d (%v) does not lead to the root %v of size %d", ErrPath, p.Index, leaf, head.Root, head.Size)
}

// CheckEntry checks a path alone, under a root that the caller has verified.
func CheckEntry(path []Hash, head Head, index int64, leaf Hash) error {
	return tlog.CheckRecord(path, head.Size, head.Root, index, leaf)
}
