package tlog

import (
	"fmt"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// Policy says whose signatures make a head good: of which logs, and of how many of which
// witnesses (C2SP tlog-policy).
type Policy struct {
	policy torchwood.Policy
	logs   []string // names
	text   string
}

// ParsePolicy reads a policy file:
//
//	log VKEY
//	witness NAME VKEY
//	group NAME k|any|all NAME...
//	quorum NAME|none
//
// A log that has changed its key has a line for each: one of them must have signed.
func ParsePolicy(text []byte) (*Policy, error) {
	p := &Policy{text: string(text)}
	var others []string
	var logs []torchwood.Policy
	for _, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(strings.SplitN(line, "#", 2)[0])
		if len(words) < 2 || words[0] != "log" {
			others = append(others, line)
			continue
		}
		others = append(others, "") // line numbers stay
		v, err := note.NewVerifier(words[1])
		if err != nil {
			return nil, fmt.Errorf("policy: %q is no public key of a log: %w", words[1], err)
		}
		p.logs = append(p.logs, v.Name())
		logs = append(logs, torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(v.Name()), torchwood.SingleVerifierPolicy(v)))
	}
	if len(logs) == 0 {
		return nil, fmt.Errorf("policy: no line \"log VKEY\"")
	}
	// torchwood v0.9 wants a signature of every log that is named; a proof is of one of them.
	quorum, err := torchwood.ParsePolicy([]byte(strings.Join(others, "\n")))
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	p.policy = torchwood.ThresholdPolicy(2, quorum, torchwood.ThresholdPolicy(1, logs...))
	return p, nil
}

// Open verifies a checkpoint: one of the policy's logs has signed, and its witnesses.
func (p *Policy) Open(checkpoint []byte) (Head, error) {
	h, sigs, err := open(checkpoint, p.policy, p.logs)
	if err != nil {
		return Head{}, err
	}
	signed := false
	for _, s := range sigs {
		signed = signed || s.Name == h.Origin
	}
	if !signed {
		return Head{}, fmt.Errorf("%w: it says %q", ErrOrigin, h.Origin)
	}
	if err := p.policy.Check(h.Origin, sigs); err != nil {
		return Head{}, fmt.Errorf("%w: %d of %s", ErrUncosigned, len(sigs)-1, "those named there")
	}
	return h, nil
}

// Signers are the names whose signatures on a checkpoint are known to the policy and good.
func (p *Policy) Signers(checkpoint []byte) []string {
	_, sigs, err := open(checkpoint, p.policy, p.logs)
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range sigs {
		out = append(out, s.Name)
	}
	return out
}

// String is the policy as it was read.
func (p *Policy) String() string { return p.text }

// Logs are the public keys of the policy's logs, without its witnesses.
func (p *Policy) Logs() (*Verifiers, error) {
	var vkeys []string
	for _, line := range strings.Split(p.text, "\n") {
		if words := strings.Fields(strings.SplitN(line, "#", 2)[0]); len(words) >= 2 && words[0] == "log" {
			vkeys = append(vkeys, words[1])
		}
	}
	return NewVerifiers(vkeys...)
}
