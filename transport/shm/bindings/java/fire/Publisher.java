package fire;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Publishes numbered messages on a channel, like ../../c/publisher.c. */
public final class Publisher {
    private Publisher() {}

    public static void main(String[] args) {
        Flags f = new Flags(args);
        End end = f.attach(End.PUBLISH);
        if (end == null) {
            System.exit(1);
        }
        while (end.readers() < f.readers && end.service()) {
            Thread.yield();
        }
        byte[] message = new byte[Math.max(8, f.bytes)];
        ByteBuffer number = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
        Writer w = end.writer();
        long sent = 0, full = 0, begun = System.nanoTime();
        int code = RingException.SENT;
        while (f.count == 0 || sent < f.count) {
            if ((sent + full) % 64 == 0) {
                end.service(); // lets readers come and go
            }
            while (f.rate > 0 && System.nanoTime() - begun < sent * 1_000_000_000 / f.rate) {
                end.service();
                Thread.yield();
            }
            number.putLong(0, sent);
            code = w.offer(1, message, 0, f.bytes);
            if (code == RingException.SENT) {
                sent++;
            } else if (code == RingException.FULL) {
                full++;
                Thread.yield();
            } else {
                break;
            }
        }
        if (code == RingException.SHUT) {
            int state = w.state(), reason = w.reason();
            end.service(); // the reason's words, if they are here already
            Flags.say("shut", "state", state, "reason", reason, "text", end.text());
        }
        Flags.say("done", "messages", sent, "full", full, "losses", end.losses());
        end.detach();
    }
}
