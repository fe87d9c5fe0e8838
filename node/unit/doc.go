// Package unit owns what fire and systemd say to each other: the unit of each role,
// hardened, and the notifications of a running process.
//
//	fire unit proxy ──► fire-proxy.service          (embedded, printed, golden)
//
//	systemd ──NOTIFY_SOCKET, WATCHDOG_USEC──► Notifier ──► READY=1, STATUS=, STOPPING=1
//	                                             └──► WATCHDOG=1 while alive() says so
//
// It refuses to install, enable or restart anything: a package or a person does. It
// refuses to feed the watchdog for a part that hangs.
//
// Invariants: without NOTIFY_SOCKET every notification is a no-op; the watchdog is
// fed at half its period at the latest, and only after alive returned nil; a status
// is one line.
//
// Limits: a status is cut at StatusBytesMax.
//
// Decisions. Type=notify and not notify-reload, which systemd 252 ignores. One
// template for all roles; the direct role alone has other lines, since it must see who
// attaches. No ProcSubset=pid: it hides net.core.somaxconn and shortens every listen
// queue. The sending is go-systemd's; the datagram format is not ours to write.
package unit
