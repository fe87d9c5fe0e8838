"""driver.py LIBRARY: ../c/driver.c in Python, for the tests of transport/shm."""

import os
import sys
import time

import fire_ring

fire_ring.load(sys.argv[1])
hands = {}  # "w", "r", "late"
claimed = None


def fill(n, seed):
    return bytes((seed * 31 + i * 7) & 255 for i in range(n))


def hashed(p):
    h = 2166136261
    for b in p:
        h = ((h ^ b) * 16777619) & 0xFFFFFFFF
    return h


PATTERN = bytes(range(256)) * 4


def numbered(k, most):
    n = 8 + k * 37 % (most - 7)
    return k.to_bytes(8, "little") + PATTERN[(k + 8) & 255:][: n - 8]


def result(code):
    return {0: "sent", -1: "full", -2: "too long", -3: "shut"}.get(code, f"error {code}")


def opened(paths, how):
    fds = [os.open(p, os.O_RDWR) for p in paths]
    try:
        how(*fds)
        return "ok"
    except fire_ring.Error as e:
        return f"error {e.code}"
    finally:
        for fd in fds:
            os.close(fd)


def polled(r, most):
    try:
        found = r.poll(most)
    except fire_ring.Error as e:
        return "shut %d %d" % r.state() if e.code == fire_ring.SHUT else "corrupt"
    said = []
    for m in found:
        if m.what == fire_ring.IS_GAP:
            said.append(f"gap {m.number} {m.last}")
        else:
            said.append(f"message {m.type} {len(m.payload)} {hashed(m.payload):08x}")
    return ", ".join(said) or "nothing"


def pump(w, count, most):
    k, end = 0, time.monotonic() + 20
    while k < count:
        code = w.offer(k & 65535, numbered(k, most))
        if code == fire_ring.SENT:
            k += 1
        elif code != fire_ring.FULL or time.monotonic() > end:
            return result(code)
        else:
            os.sched_yield()
    return "pumped"


def drain(r, count, most):
    next_, messages, lost, wrong, code = r.stat().read, 0, 0, 0, 0
    end = time.monotonic() + 20
    while next_ < count and not wrong and time.monotonic() < end:
        try:
            found = r.poll(64)
        except fire_ring.Error as e:
            code = e.code
            break
        for m in found:
            if m.what == fire_ring.IS_GAP:
                wrong |= m.number != next_
                lost += m.last - m.number + 1
                next_ = m.last + 1
            else:
                wrong |= m.payload != numbered(next_, most)
                messages += 1
                next_ += 1
        if not found:
            r.wait()
    return f"drained {messages} lost {lost} wrong {int(wrong)} code {code}"


def stat(s):
    return (f"{s.name.decode()} {s.discipline} state {s.state} {s.reason} lines {s.lines} epoch {s.epoch} messages {s.messages} bytes {s.bytes} "
            f"full {s.full} bells {s.bells} padding {s.padding} position {s.position} read {s.read} {s.read_bytes} laps {s.laps} lost {s.lost} "
            f"waits {s.waits} lag {s.lag_lines}")


def write_side(w, verb, arg, n):
    global claimed
    if verb == "add":
        return opened(arg[:1], lambda fd: w.add(fd, n[1], "reader"))
    if verb == "remove":
        w.remove(n[0])
    elif verb == "offer":
        return result(w.offer(n[0], fill(n[1], n[2])))
    elif verb == "claim":
        claimed = w.claim(n[0])
        return result(claimed) if isinstance(claimed, int) else "sent"
    elif verb == "commit":
        claimed[: n[1]] = fill(n[1], n[2])
        return result(w.commit(n[0], n[1]))
    elif verb == "abort":
        w.abort()
    elif verb == "pump":
        return pump(w, n[0], n[1])
    return "ok"


def do(who, verb, *arg):
    n = [int(a) if a.isdigit() else 0 for a in arg]

    def open_(*fds):
        hands[who] = fire_ring.Writer(*fds) if who == "w" else fire_ring.Reader(*fds)

    if verb == "open":
        return opened(arg, open_)
    hand = hands[who]
    if verb == "close":
        hand.close()
        return "ok"
    if verb == "stat":
        return stat(hand.stat())
    if who == "w":
        return write_side(hand, verb, arg, n)
    if verb == "drain":
        return drain(hand, n[0], n[1])
    return polled(hand, n[0] if verb == "poll" else 1)


for line in sys.stdin:
    print(do(*line.split()), flush=True)
