package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fire/audit/tlog"
)

const (
	// ProofHashesMax is how many hashes a request may carry, C2SP tlog-witness.
	ProofHashesMax = 63
	// RequestBytesMax is the largest request: the hashes, and a checkpoint with room for 16
	// signatures of any kind that C2SP knows.
	RequestBytesMax = 64 << 10
)

// request is the body of add-checkpoint.
type request struct {
	old        int64
	proof      []tlog.Hash
	checkpoint []byte
	origin     string // the checkpoint's first line; nothing is verified yet
}

// format writes the body.
func (r *request) format() []byte {
	b := fmt.Appendf(nil, "old %d\n", r.old)
	for _, h := range r.proof {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	return append(append(b, '\n'), r.checkpoint...)
}

// parseRequest takes nothing that format would not have written.
func parseRequest(body []byte) (request, error) {
	head, checkpoint, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return request{}, errors.New("no empty line before the checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	size, ok := strings.CutPrefix(lines[0], "old ")
	old, err := parseSize(size)
	if !ok || err != nil {
		return request{}, errors.New(`the first line is not "old N"`)
	}
	if len(lines)-1 > ProofHashesMax {
		return request{}, fmt.Errorf("%d hashes, %d are allowed", len(lines)-1, ProofHashesMax)
	}
	r := request{old: old, checkpoint: checkpoint}
	for i, l := range lines[1:] {
		b, err := base64.StdEncoding.DecodeString(l)
		if err != nil || len(b) != tlog.HashBytes || base64.StdEncoding.EncodeToString(b) != l {
			return request{}, fmt.Errorf("line %d is no hash", i+2)
		}
		r.proof = append(r.proof, tlog.Hash(b))
	}
	origin, _, ok := bytes.Cut(checkpoint, []byte("\n"))
	if !ok || len(origin) == 0 {
		return request{}, errors.New("the checkpoint has no origin")
	}
	r.origin = string(origin)
	return r, nil
}

// parseSize reads a decimal without sign or leading zeros.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q is no size", s)
	}
	return n, nil
}
