package tlog

import (
	"errors"
	"fmt"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// Policy says whose signatures make a head good: of which logs, and of how many of which
// witnesses (C2SP tlog-policy).
type Policy struct {
	policy    torchwood.Policy
	logs      []note.Verifier
	witnesses []note.Verifier
	text      string
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
		p.logs = append(p.logs, v)
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
	return p, p.once(others)
}

// once checks that no key is named twice: torchwood would refuse each head that it has signed,
// and not say so before. A witness that is twice in a group would count twice.
func (p *Policy) once(lines []string) error {
	for _, v := range p.logs {
		if _, err := p.policy.Verifier(v.Name(), v.KeyHash()); err != nil {
			return fmt.Errorf("policy: the log key %s+%08x is there twice", v.Name(), v.KeyHash())
		}
	}
	for _, line := range lines {
		words := strings.Fields(strings.SplitN(line, "#", 2)[0])
		if len(words) < 3 || words[0] != "witness" {
			continue
		}
		v, err := torchwood.NewCosignatureVerifier(words[2])
		if err != nil {
			return fmt.Errorf("policy: witness %s: %w", words[1], err)
		}
		var unknown *note.UnknownVerifierError // of one that is in no group
		if _, err := p.policy.Verifier(v.Name(), v.KeyHash()); err != nil && !errors.As(err, &unknown) {
			return fmt.Errorf("policy: the key of witness %s counts twice in the quorum", words[1])
		}
		p.witnesses = append(p.witnesses, v)
	}
	return nil
}

// Open verifies a checkpoint: one of the policy's logs has signed, and its witnesses.
func (p *Policy) Open(checkpoint []byte) (Head, error) {
	h, n, err := open(checkpoint, p.policy, p.logs)
	if err != nil {
		return Head{}, err
	}
	if err := p.policy.Check(h.Origin, n.Sigs); err != nil {
		return Head{}, fmt.Errorf("%w: %d of %d have%s", ErrUncosigned, len(p.cosigners(n)), len(p.witnesses), strings.Join(append([]string{""}, p.cosigners(n)...), " "))
	}
	return h, nil
}

// cosigners are the names of the policy's witnesses that have signed.
func (p *Policy) cosigners(n *note.Note) (names []string) {
	for _, s := range n.Sigs {
		for _, w := range p.witnesses {
			if s.Name == w.Name() && s.Hash == w.KeyHash() {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

// Signers are the names whose signatures on a checkpoint are known to the policy and good.
func (p *Policy) Signers(checkpoint []byte) []string {
	_, n, err := open(checkpoint, p.policy, p.logs)
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range n.Sigs {
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
