// Package transport owns the few words in which the mesh speaks about its links: a
// Session between two proved identities, and the Streams inside it.
//
//	Session  peer, protocol (ALPN), class          one per (source, node, class)
//	 ├─ Stream   bytes both ways, each half closes alone
//	 ├─ Stream   Cancel(code) resets both halves and tells why
//	 └─ ...      Done() closes and Err() names a code when the session ends
//
// It refuses mechanisms: transport/quic is one, Pipe in this package is the double
// for tests and for parts that share a process. Both pass transporttest.Run.
//
// # Invariants: what every implementation promises
//
//   - Bytes arrive in order and whole, or the reader gets an error. CloseWrite after
//     Write loses nothing: the reader sees every byte, then io.EOF.
//   - The halves are independent: after CloseWrite, Read goes on; after io.EOF, Write does.
//   - After the peer's Cancel, Read and Write return *reason.Error with the peer's
//     code; bytes that were under way may be lost. After an own Cancel they return
//     the own code. The first Cancel of a side counts; further ones do nothing.
//   - After the session died, everything returns the session's code. A peer that
//     closed with code OK shows as PeerClosed.
//   - A Write that returned has been queued, not delivered. Queues are bounded: a
//     reader that does not read stops the writer.
//   - A deadline that passes gives an error that is os.ErrDeadlineExceeded and leaves the
//     stream usable. Zero means none.
//   - The peer learns of a stream with its first bytes, not with Open.
//   - One goroutine may Read and one may Write a stream at a time; CloseWrite belongs
//     to the writer; Cancel and the deadlines may be called by anybody.
//
// Decision: Cancel is one verb for both halves. Every use that the proxy has (refusal,
// policy cut, broken application) ends both, and half a reset is how proxies leak.
//
// Lock order in Pipe: none is held while another is taken.
package transport
