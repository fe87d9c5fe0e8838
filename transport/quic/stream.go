package quic

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"fire/policy/reason"

	quicgo "github.com/quic-go/quic-go"
)

// stream is one bidirectional QUIC stream.
type stream struct {
	quic    *quicgo.Stream
	session *session
	queued  atomic.Int64 // bytes that were gathered since an ordinary write
	in, out alarm        // read and write deadlines
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.quic.Read(p)
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		err = streamError(err)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		s.in.end()
	}
	return n, err
}

func (s *stream) Write(p []byte) (int, error) {
	if taken, err := s.writeTogether(p); err != nil && taken {
		return 0, streamError(err)
	} else if taken {
		return len(p), nil
	}
	n, err := s.quic.Write(p)
	if err != nil {
		err = streamError(err)
	}
	return n, err
}

func (s *stream) CloseWrite() error {
	s.out.end()
	if err := s.quic.Close(); err != nil {
		return streamError(err)
	}
	return nil
}

// Cancel is RESET_STREAM one way and STOP_SENDING the other, both with the code.
func (s *stream) Cancel(code reason.Code) {
	s.quic.CancelWrite(quicgo.StreamErrorCode(code))
	s.quic.CancelRead(quicgo.StreamErrorCode(code))
	s.in.end()
	s.out.end()
}

func (s *stream) SetReadDeadline(t time.Time) error {
	return s.in.set(t, s.session.born, s.quic, (*quicgo.Stream).SetReadDeadline)
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	return s.out.set(t, s.session.born, s.quic, (*quicgo.Stream).SetWriteDeadline)
}

// Alive reports without a read whether the peer, and its session, still take what is
// written. Cancel at the other end ends both directions, so it speaks for both.
func (s *stream) Alive() bool { return s.quic.Context().Err() == nil }

// streamError names why a stream refused.
func streamError(err error) error {
	switch e := (*quicgo.StreamError)(nil); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case errors.As(err, &e):
		who := "cancelled here"
		if e.Remote {
			who = "cancelled by the peer"
		}
		return &reason.Error{Code: codeOf(uint64(e.ErrorCode)), Detail: who}
	case errors.Is(err, quicgo.ErrStreamClosed):
		return fmt.Errorf("write after CloseWrite: %w", io.ErrClosedPipe)
	}
	return sessionError(err)
}
