package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"fire/audit/entry"
	"fire/audit/order"
	"fire/audit/subject"
)

// Persons says which values of FIX messages are of persons, and who seals them. The zero value
// seals nothing.
type Persons struct {
	Tags *order.Personal
	// Named are the same tags in the order in which they name whose a message is: the value of
	// the first that it has is the subject's name.
	Named []int
	Keys  *subject.Store
}

// person is whose values a message has, sealed.
type person struct {
	id     subject.ID
	sealed []byte
	detail string // why they could not be sealed: then they are lost
}

// sealedDigestBytes of what is sealed are the digest of the message as it was; the values follow.
const sealedDigestBytes = sha256.Size

// redact gives a message without its personal values. They are sealed under their subject's key,
// bound to the entry's source and number, together with the digest of the whole message. What is
// returned is valid until the next call.
func (e *encoder) redact(source uint64, rec *record, payload []byte) ([]byte, person) {
	e.persons.Tags.Redact(payload, &e.redaction)
	if len(e.redaction.Values) == 0 {
		return payload, person{}
	}
	whole := sha256.Sum256(payload)
	to := sealedTo(source, rec.seq)
	e.plain = append(append(e.plain[:0], whole[:]...), e.redaction.Values...)
	sealed, id, err := e.persons.Keys.Seal(e.sealed[:0], e.subjectOf(), e.plain, to[:])
	if err != nil {
		return e.redaction.Redacted, person{detail: "personal values could not be sealed, and are not kept: " + err.Error()}
	}
	e.sealed = sealed
	return e.redaction.Redacted, person{id: id, sealed: sealed}
}

// subjectOf is the value of the first named tag that the message has.
func (e *encoder) subjectOf() []byte {
	best, name := len(e.persons.Named), []byte(nil)
	for tag, value := range order.Values(e.redaction.Values) {
		for i, named := range e.persons.Named[:best] {
			if named == tag {
				best, name = i, value
				break
			}
		}
	}
	return name
}

// sealedTo binds sealed values to their entry, so that they cannot be put into another.
func sealedTo(source, seq uint64) (b [16]byte) {
	binary.LittleEndian.PutUint64(b[:], source)
	binary.LittleEndian.PutUint64(b[8:], seq)
	return b
}

// Unseal gives back the message of an entry as it was, while its subject has a key. The errors of
// subject.Store say why it does not.
func Unseal(keys *subject.Store, v entry.View) ([]byte, error) {
	sealed := v.Bytes(entry.Sealed)
	if sealed == nil {
		return v.Bytes(entry.Content), nil
	}
	h := v.Head()
	to := sealedTo(h.Source, h.Seq)
	plain, err := keys.Open(nil, subject.ID(v.Bytes(entry.Subject)), sealed, to[:])
	if err != nil {
		return nil, err
	}
	if len(plain) < sealedDigestBytes {
		return nil, fmt.Errorf("%w: %d bytes", subject.ErrTampered, len(plain))
	}
	whole, err := order.Restore(nil, v.Bytes(entry.Content), plain[sealedDigestBytes:])
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(whole) != [sha256.Size]byte(plain) {
		return nil, fmt.Errorf("%w: the message does not have the digest that was sealed with it", subject.ErrTampered)
	}
	return whole, nil
}
