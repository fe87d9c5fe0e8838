package fire;

import java.util.IdentityHashMap;
import java.util.Map;

/** Reads a channel and checks the numbers that publishers write, like ../../c/subscriber.c. */
public final class Subscriber {
    private long messages, bytes, lost, wrong;
    private final Map<End.Lane, long[]> next = new IdentityHashMap<>(); // number of the next message; -1: any

    private Subscriber() {}

    private void on(Message m) {
        long[] n = next.computeIfAbsent(m.from(), l -> new long[] {-1});
        if (m.what() == Message.GAP) {
            lost += m.last() - m.number() + 1;
            n[0] += n[0] >= 0 ? m.last() - m.number() + 1 : 0;
            Flags.say("gap", "service", m.from().service(), "first", m.number(), "last", m.last());
        } else if (m.what() == Message.END) {
            next.remove(m.from());
            Flags.say("ended", "service", m.from().service(), "code", m.error(), "state", m.state(), "reason", m.reason());
        } else {
            messages++;
            bytes += m.bytes();
            if (m.bytes() >= 8) {
                long k = m.getLong(0);
                wrong += n[0] >= 0 && n[0] != k ? 1 : 0;
                n[0] = k + 1;
            }
        }
    }

    private void run(Flags f, End end) {
        Message.Each each = this::on;
        int code = 0;
        for (long told = 0; code >= 0 && (f.count == 0 || messages + lost < f.count); told = messages) {
            code = end.poll(256, each);
            if (code == 0) {
                end.await();
            } else if (messages / 1024 != told / 1024) {
                end.service(); // also while there is always something to read
            }
        }
        if (code == RingException.REFUSED) {
            Flags.say("refused", "reason", end.reason(), "text", end.text());
        }
        Flags.say("done", "messages", messages, "bytes", bytes, "lost", lost, "wrong", wrong, "losses", end.losses());
        end.detach();
    }

    public static void main(String[] args) {
        Flags f = new Flags(args);
        End end = f.attach(End.SUBSCRIBE);
        if (end == null) {
            System.exit(1);
        }
        new Subscriber().run(f, end);
    }
}
