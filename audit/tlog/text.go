package tlog

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// SignText signs lines of text that are no head: its first line says what they are, so that no
// head can be shown in its place.
func SignText(text string, keys ...*Key) ([]byte, error) {
	signers := make([]note.Signer, len(keys))
	for i, k := range keys {
		signers[i] = k.signer
	}
	return note.Sign(&note.Note{Text: text}, signers...)
}

// OpenText verifies lines that SignText has signed.
func (v *Verifiers) OpenText(signed []byte) (text string, err error) {
	n, err := note.Open(signed, v.known)
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &invalid):
		return "", fmt.Errorf("%w: signature of %s", ErrEdited, invalid.Name)
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	return n.Text, nil
}
