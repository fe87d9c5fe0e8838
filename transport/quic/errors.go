package quic

import (
	"context"
	"errors"
	"math"
	"net"
	"os"

	"fire/policy/reason"

	quicgo "github.com/quic-go/quic-go"
)

func errClosed() *reason.Error {
	return &reason.Error{Code: reason.Shutdown, Detail: "the endpoint is closed", Cause: net.ErrClosed}
}

// codeOf is the reason in an error code from the wire. Zero is no reason to break
// anything, so it reads as the vaguest one.
func codeOf(wire uint64) reason.Code {
	if wire == 0 || wire > math.MaxUint16 {
		return reason.PeerClosed
	}
	return reason.Code(wire)
}

// sessionError names why a connection ended.
func sessionError(err error) *reason.Error {
	if e, ok := errors.AsType[*reason.Error](err); ok { // our own check refused the certificate
		return e
	}
	if e, ok := errors.AsType[*quicgo.ApplicationError](err); ok {
		who := "closed here"
		if e.Remote {
			who = "closed by the peer"
		}
		if e.ErrorMessage != "" {
			who += ": " + printable(e.ErrorMessage)
		}
		return &reason.Error{Code: codeOf(uint64(e.ErrorCode)), Detail: who}
	}
	if e, ok := errors.AsType[*quicgo.TransportError](err); ok {
		return transportError(e)
	}
	code := reason.PeerClosed
	switch {
	case isA[*quicgo.HandshakeTimeoutError](err):
		code = reason.PeerUnreachable
	case isA[*quicgo.IdleTimeoutError](err), isA[*quicgo.StatelessResetError](err), errors.Is(err, os.ErrDeadlineExceeded):
		code = reason.PeerLost
	case isA[*quicgo.VersionNegotiationError](err):
		code = reason.FrameVersion
	case errors.Is(err, quicgo.ErrTransportClosed), errors.Is(err, quicgo.ErrServerClosed), errors.Is(err, context.Canceled):
		code = reason.Shutdown
	}
	if err == nil {
		return &reason.Error{Code: code}
	}
	return &reason.Error{Code: code, Detail: printable(err.Error()), Cause: err}
}

const (
	cryptoError   = 0x100 // plus the TLS alert, RFC 9001 section 4.8
	alertProtocol = 120   // no_application_protocol
)

// transportError reads the little that QUIC tells. A TLS alert carries no text: the
// side that refused has the reason in its log.
func transportError(e *quicgo.TransportError) *reason.Error {
	r := &reason.Error{Code: reason.PeerClosed, Detail: printable(e.Error()), Cause: e}
	switch {
	case e.ErrorCode == quicgo.ConnectionRefused && e.Remote:
		r.Code, r.Detail = reason.HandshakeFlood, "the peer admits no more handshakes"
	case e.ErrorCode == cryptoError+alertProtocol:
		r.Code = reason.FrameVersion
	case e.ErrorCode >= cryptoError && e.ErrorCode < cryptoError+0x100 && e.Remote:
		r.Code, r.Detail = reason.CertRefused, "the peer refused this side's certificate and its log says why: "+r.Detail
	}
	return r
}

// dialError is what Dial returns: a reason with the address in it.
func dialError(ctx context.Context, addr string, err error) *reason.Error {
	e := sessionError(err)
	if ctx.Err() != nil || isA[*net.OpError](err) || isA[*net.DNSError](err) || isA[*quicgo.IdleTimeoutError](err) || isA[*net.AddrError](err) {
		return &reason.Error{Code: reason.PeerUnreachable, Detail: "dial " + addr + ": " + printable(err.Error()), Cause: err}
	}
	return &reason.Error{Code: e.Code, Detail: "dial " + addr + ": " + e.Detail, Cause: err}
}

func isA[E error](err error) bool { _, ok := errors.AsType[E](err); return ok }

const textBytesMax = 256

// printable makes text from the wire fit for a log line.
func printable(s string) string {
	b := []byte(s[:min(len(s), textBytesMax)])
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			b[i] = '?'
		}
	}
	return string(b)
}
