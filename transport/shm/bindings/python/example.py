"""What publisher.py and subscriber.py share: flags, JSON lines, attaching."""

import argparse
import json
import os

import fire_ring


def read_flags():
    a = argparse.ArgumentParser(description="prints one JSON object a line")
    a.add_argument("--socket", default=os.environ.get("FIRE_DIRECT", "/run/fire/attach"))
    a.add_argument("--channel", required=True)
    a.add_argument("--service", default="")
    a.add_argument("--count", type=int, default=0, help="messages; 0 is until the channel is shut")
    a.add_argument("--bytes", type=int, default=48)
    a.add_argument("--rate", type=int, default=0, help="publisher: messages a second; 0 is as many as go")
    a.add_argument("--readers", type=int, default=0, help="publisher: wait for so many first")
    a.add_argument("--library", default="", help="libfire_ring.so")
    f = a.parse_args()
    fire_ring.load(f.library)
    return f


def say(event, **what):
    print(json.dumps({"event": event, **what}), flush=True)


def attach(f, side):
    try:
        end = fire_ring.End(f.socket, f.channel, side, f.service)
    except fire_ring.Error as e:
        if e.code == fire_ring.REFUSED:
            say("refused", reason=e.reason, text=str(e))
        else:
            say("failed", code=e.code, text=str(e))
        raise SystemExit(1)
    say("attached", channel=f.channel, service=end.service_name)
    return end
