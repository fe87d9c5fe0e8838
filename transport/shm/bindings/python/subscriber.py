"""Reads a channel and checks the numbers that publishers write, like ../c/subscriber.c."""

import fire_ring
from example import attach, read_flags, say

f = read_flags()
end = attach(f, fire_ring.SUBSCRIBE)
messages = size = lost = wrong = 0
next_ = {}  # number of the next message, by lane
while f.count == 0 or messages + lost < f.count:
    try:
        found = end.poll()
    except fire_ring.Error as e:
        say("refused", reason=e.reason, text=str(e))
        break
    for m in found:
        if m.what == fire_ring.IS_GAP:
            lost += m.last - m.number + 1
            if m.lane in next_:
                next_[m.lane] += m.last - m.number + 1
            say("gap", service=m.service, first=m.number, last=m.last)
        elif m.what == fire_ring.IS_END:
            next_.pop(m.lane, None)
            say("ended", service=m.service, code=m.error, state=m.state, reason=m.reason)
        else:
            messages += 1
            size += len(m.payload)
            if len(m.payload) >= 8:
                k = int.from_bytes(m.payload[:8], "little")
                wrong += next_.get(m.lane, k) != k
                next_[m.lane] = k + 1
    if found:
        end.service()
    else:
        end.wait()
say("done", messages=messages, bytes=size, lost=lost, wrong=wrong)
end.detach()
