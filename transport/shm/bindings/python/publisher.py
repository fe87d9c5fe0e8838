"""Publishes numbered messages on a channel, like ../c/publisher.c."""

import os
import time

import fire_ring
from example import attach, read_flags, say

f = read_flags()
end = attach(f, fire_ring.PUBLISH)
while end.readers() < f.readers and end.service() != fire_ring.REFUSED:
    os.sched_yield()
sent = full = 0
begun = time.monotonic()
code = fire_ring.SENT
while f.count == 0 or sent < f.count:
    if (sent + full) % 64 == 0:
        end.service()  # lets readers come and go
    while f.rate > 0 and time.monotonic() < begun + sent / f.rate:
        end.service()
        os.sched_yield()
    code = end.offer(1, sent.to_bytes(8, "little").ljust(f.bytes, b"\0")[: f.bytes])
    if code == fire_ring.SENT:
        sent += 1
    elif code == fire_ring.FULL:
        full += 1
        os.sched_yield()
    else:
        break
if code == fire_ring.SHUT:
    state, reason = end.writer_state()
    end.service()  # the reason's words, if they are here already
    say("shut", state=state, reason=reason, text=end.why()[1])
say("done", messages=sent, full=full)
end.detach()
