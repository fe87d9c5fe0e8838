"""Channels of fire from Python: ctypes over fire_ring.h, which ../build makes into
libfire_ring.so.

    end = fire_ring.End("/run/fire/attach", "md-nyse", fire_ring.SUBSCRIBE)
    while True:
        for m in end.poll():  # raises Error when the end is over
            print(m.service, m.type, m.payload)
        end.wait()

The order of the stores that publish a message is the C compiler's work: Python has no
atomic store and no fence, and a plain store of struct or mmap promises nothing on arm64.
A call costs about a microsecond; payloads are copied into bytes.

An end, a writer or a reader belongs to one thread.
"""

import ctypes
import os
from ctypes import CFUNCTYPE, POINTER, byref, c_char, c_char_p, c_int, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p

PUBLISH, SUBSCRIBE = 1, 2
OPEN, REVOKED, CLOSED, ORPHANED = 1, 2, 3, 4
SENT, FULL, TOO_LONG, SHUT, CORRUPT, UNREACHABLE, REFUSED, NOT_YET = 0, -1, -2, -3, -4, -15, -16, -19
IS_MESSAGE, IS_GAP, IS_END = 0, 1, 2
MESSAGE_MAX = 65536
ADAPTIVE = (4096, 16, 8)  # looks, looks with sched_yield, ms of sleep


class Error(Exception):
    """What went wrong: code is one of fire_ring.h, reason the direct node's, if it said one."""

    def __init__(self, code, text="", reason=0):
        super().__init__(text or _library().fire_ring_error(code).decode())
        self.code, self.reason = code, reason


class _Message(ctypes.Structure):  # struct fire_message
    _fields_ = [("what", c_int), ("type", c_uint16), ("bytes", c_uint32), ("p", c_void_p), ("number", c_uint64), ("last", c_uint64),
                ("lane", c_void_p), ("error", c_int), ("state", c_uint32), ("reason", c_uint32)]


class _Strategy(ctypes.Structure):  # struct fire_strategy
    _fields_ = [("spins", c_uint32), ("yields", c_uint32), ("sleep_ms", c_uint32)]


class Stat(ctypes.Structure):  # struct fire_stat
    """What a ring, and of a reader its cursor, have counted."""

    _fields_ = [("name", c_char * 64), ("discipline", c_uint32), ("state", c_uint32), ("reason", c_uint32), ("epoch", c_uint64),
                ("lines", c_uint64), ("created", c_uint64), ("messages", c_uint64), ("bytes", c_uint64), ("full", c_uint64),
                ("bells", c_uint64), ("padding", c_uint64), ("position", c_uint64), ("read", c_uint64), ("read_bytes", c_uint64),
                ("laps", c_uint64), ("lost", c_uint64), ("waits", c_uint64), ("lag_lines", c_uint64), ("latency", c_uint64 * 64)]


_EACH = CFUNCTYPE(None, c_void_p, POINTER(_Message))
_FUNCTIONS = {  # name: result, arguments
    "fire_ring_error": (c_char_p, [c_int]),
    "fire_size_of_writer": (c_size_t, []),
    "fire_size_of_reader": (c_size_t, []),
    "fire_size_of_end": (c_size_t, []),
    "fire_writer_open": (c_int, [c_void_p, c_int, c_int]),
    "fire_writer_add": (c_int, [c_void_p, c_int, c_uint64, c_char_p]),
    "fire_writer_remove": (None, [c_void_p, c_uint64]),
    "fire_writer_offer": (c_int, [c_void_p, c_uint16, c_char_p, c_size_t]),
    "fire_writer_claim": (c_int, [c_void_p, c_size_t, POINTER(c_void_p)]),
    "fire_writer_commit": (c_int, [c_void_p, c_uint16, c_size_t]),
    "fire_writer_abort": (None, [c_void_p]),
    "fire_writer_state": (c_int, [c_void_p, POINTER(c_uint32)]),
    "fire_writer_stat": (None, [c_void_p, POINTER(Stat)]),
    "fire_writer_close": (None, [c_void_p]),
    "fire_reader_open": (c_int, [c_void_p, c_int, c_int, c_int, c_void_p]),
    "fire_reader_poll": (c_int, [c_void_p, c_int, _EACH, c_void_p]),
    "fire_reader_wait": (c_int, [c_void_p, POINTER(_Strategy)]),
    "fire_reader_state": (c_int, [c_void_p, POINTER(c_uint32)]),
    "fire_reader_stat": (None, [c_void_p, POINTER(Stat)]),
    "fire_reader_close": (None, [c_void_p]),
    "fire_ring_attach": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_int]),
    "fire_ring_service": (c_int, [c_void_p]),
    "fire_ring_fd": (c_int, [c_void_p]),
    "fire_ring_offer": (c_int, [c_void_p, c_uint16, c_char_p, c_size_t]),
    "fire_ring_writer": (c_void_p, [c_void_p]),
    "fire_ring_readers": (c_int, [c_void_p]),
    "fire_ring_lanes": (c_int, [c_void_p]),
    "fire_ring_poll": (c_int, [c_void_p, c_int, _EACH, c_void_p]),
    "fire_ring_wait": (c_int, [c_void_p]),
    "fire_ring_detach": (None, [c_void_p]),
    "fire_ring_why": (c_char_p, [c_void_p, POINTER(c_uint32)]),
    "fire_ring_service_name": (c_char_p, [c_void_p]),
    "fire_lane_service": (c_char_p, [c_void_p]),
}
_loaded = []


def load(path=""):
    """Loads libfire_ring.so; without a path from $FIRE_RING_LIBRARY, or beside this file."""
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libfire_ring.so")
    c = ctypes.CDLL(path or os.environ.get("FIRE_RING_LIBRARY", beside))
    for name, (result, arguments) in _FUNCTIONS.items():
        f = getattr(c, name)
        f.restype, f.argtypes = result, arguments
    _loaded[:] = [c]
    return c


def _library():
    return _loaded[0] if _loaded else load()


def _check(code):
    if code < 0:
        raise Error(code)
    return code


class Found:
    """What a poll finds: a message; a gap, messages number to last are lost; or a lane's end."""

    __slots__ = ("what", "type", "payload", "number", "last", "lane", "service", "error", "state", "reason")

    def __init__(self, m):
        self.what, self.type, self.number, self.last, self.lane = m.what, m.type, m.number, m.last, m.lane
        self.error, self.state, self.reason = m.error, m.state, m.reason
        self.payload = ctypes.string_at(m.p, m.bytes) if m.what == IS_MESSAGE else b""
        self.service = _library().fire_lane_service(m.lane).decode(errors="replace") if m.lane else ""


class _Polls:
    """Collects what one poll of C finds."""

    def __init__(self):
        self.found = []
        self.each = _EACH(lambda _, m: self.found.append(Found(m.contents)))

    def __call__(self, poll, at, most):
        self.found = []
        return poll(at, most, self.each, None), self.found


class Writer:
    """The writing end of one ring, of whose memories one has the descriptors."""

    def __init__(self, data_fd, gate_fd):
        self.c = _library()
        self.at = ctypes.create_string_buffer(self.c.fire_size_of_writer())
        _check(self.c.fire_writer_open(self.at, data_fd, gate_fd))

    def add(self, cursor_fd, link, service=""):
        _check(self.c.fire_writer_add(self.at, cursor_fd, link, service.encode()))

    def remove(self, link):
        self.c.fire_writer_remove(self.at, link)

    def offer(self, type, payload):
        """Writes one message; SENT, FULL, TOO_LONG or SHUT. It never waits."""
        return self.c.fire_writer_offer(self.at, type, payload, len(payload))

    def claim(self, n):
        """n bytes of the ring to be filled in place, for commit or abort; or a code."""
        p = c_void_p()
        code = self.c.fire_writer_claim(self.at, n, byref(p))
        return memoryview((c_char * n).from_address(p.value)).cast("B") if code == SENT else code

    def commit(self, type, n):
        return self.c.fire_writer_commit(self.at, type, n)

    def abort(self):
        self.c.fire_writer_abort(self.at)

    def stat(self):
        s = Stat()
        self.c.fire_writer_stat(self.at, byref(s))
        return s

    def close(self):
        self.c.fire_writer_close(self.at)


class Reader:
    """The reading end of one ring."""

    def __init__(self, data_fd, cursor_fd, gate_fd):
        self.c, self.polls = _library(), _Polls()
        self.at = ctypes.create_string_buffer(self.c.fire_size_of_reader())
        self.copy = ctypes.create_string_buffer(MESSAGE_MAX)
        _check(self.c.fire_reader_open(self.at, data_fd, cursor_fd, gate_fd, self.copy))

    def poll(self, most=256):
        """What is there: messages, or one gap alone. Raises Error when no more comes."""
        code, found = self.polls(self.c.fire_reader_poll, self.at, most)
        _check(code)
        return found

    def wait(self, strategy=ADAPTIVE):
        """True when poll has something to say, False after one round of waiting."""
        return self.c.fire_reader_wait(self.at, byref(_Strategy(*strategy))) == 1

    def state(self):
        """What the direct node says of the lane, and the number of its reason."""
        reason = c_uint32()
        return self.c.fire_reader_state(self.at, byref(reason)), reason.value

    def stat(self):
        s = Stat()
        self.c.fire_reader_stat(self.at, byref(s))
        return s

    def close(self):
        self.c.fire_reader_close(self.at)


class End:
    """This program's hold on a channel, as PUBLISH or SUBSCRIBE."""

    def __init__(self, socket, channel, side, service=""):
        self.c, self.polls = _library(), _Polls()
        self.at = ctypes.create_string_buffer(self.c.fire_size_of_end())
        self._over(self.c.fire_ring_attach(self.at, socket.encode(), channel.encode(), service.encode(), side))
        self.service_name = self.c.fire_ring_service_name(self.at).decode()

    def _over(self, code):
        if code == REFUSED:
            reason, text = self.why()
            raise Error(code, text, reason)
        return _check(code)

    def why(self):
        """Reason and words of the direct node, when it has refused this end."""
        reason = c_uint32()
        text = self.c.fire_ring_why(self.at, byref(reason)).decode(errors="replace")
        return reason.value, text

    def service(self):
        """Talks with the direct node and never waits: call it every few milliseconds."""
        return self.c.fire_ring_service(self.at)

    def fileno(self):
        """What select may watch; -1 while there is no direct node."""
        return self.c.fire_ring_fd(self.at)

    def offer(self, type, payload):
        """Writes one message; SENT, FULL, TOO_LONG or SHUT. It never waits."""
        return self.c.fire_ring_offer(self.at, type, payload, len(payload))

    def writer_state(self):
        """What the direct node says of the ring that this end writes, and its reason."""
        reason, at = c_uint32(), self.c.fire_ring_writer(self.at)
        return (self.c.fire_writer_state(at, byref(reason)), reason.value) if at else (0, 0)

    def readers(self):
        return self.c.fire_ring_readers(self.at)

    def lanes(self):
        return self.c.fire_ring_lanes(self.at)

    def poll(self, most=256):
        """What all lanes have: messages, gaps, ends. Raises Error when the end is over."""
        code, found = self.polls(self.c.fire_ring_poll, self.at, most)
        self._over(code)
        return found

    def wait(self):
        """Serves the direct node and waits by the channel's strategy, one round."""
        return self.c.fire_ring_wait(self.at)

    def detach(self):
        self.c.fire_ring_detach(self.at)
