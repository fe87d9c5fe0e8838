package fire;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.Arrays;

/** ../../c/driver.c in Java, for the tests of transport/shm. */
public final class Driver {
    private static final long EXCHANGE_WITHIN_NS = 20_000_000_000L;

    private Writer writer;
    private final Reader[] readers = new Reader[2];
    private final byte[] scratch = new byte[Layout.MESSAGE_MAX + 1], seen = new byte[Layout.MESSAGE_MAX];
    private StringBuilder answer;
    private long next, messages, lost; // of drain
    private int wrong;

    private Driver() {}

    private interface Opening {
        void open(int[] fds) throws RingException;
    }

    public static void main(String[] args) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        Driver d = new Driver();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            System.out.println(d.answerTo(line.split(" ")));
        }
    }

    private StringBuilder answerTo(String[] word) {
        int[] n = new int[3];
        for (int i = 2; i < word.length && i < 5; i++) {
            n[i - 2] = word[i].matches("\\d+") ? Integer.parseInt(word[i]) : 0;
        }
        answer = new StringBuilder();
        if (word[0].equals("w")) {
            write(word, n);
        } else {
            read(word[0].equals("late") ? 1 : 0, word, n);
        }
        return answer;
    }

    private void say(String format, Object... what) {
        answer.append(answer.length() > 0 ? ", " : "").append(String.format(format, what));
    }

    private void open(String[] word, int paths, Opening how) {
        int[] fds = new int[paths];
        try {
            for (int i = 0; i < paths; i++) {
                fds[i] = Native.open(word[2 + i]);
            }
            how.open(fds);
            say("ok");
        } catch (RingException e) {
            say("error %d", e.code);
        } finally {
            for (int fd : fds) {
                Native.close(fd);
            }
        }
    }

    private void result(int code) {
        String[] words = {"sent", "full", "too long", "shut"};
        say(code <= 0 && code > -4 ? words[-code] : "error " + code);
    }

    private byte[] fill(int n, int seed) {
        for (int i = 0; i < n; i++) {
            scratch[i] = (byte) (seed * 31 + i * 7);
        }
        return scratch;
    }

    private int numbered(long k, int most) {
        int n = 8 + (int) (k * 37 % (most - 7));
        for (int i = 0; i < n; i++) {
            scratch[i] = (byte) (i < 8 ? k >>> 8 * i : k + i);
        }
        return n;
    }

    private void each(Message m) {
        if (m.what() == Message.GAP) {
            say("gap %d %d", m.number(), m.last());
            return;
        }
        int h = 0x811c9dc5;
        for (int i = 0; i < m.bytes(); i++) {
            h = (h ^ m.get(i) & 0xff) * 16777619;
        }
        say("message %d %d %08x", m.type(), m.bytes(), h);
    }

    private void write(String[] word, int[] n) {
        switch (word[1]) {
            case "open": open(word, 2, fd -> writer = new Writer(fd[0], fd[1])); break;
            case "add": open(word, 1, fd -> writer.add(fd[0], n[1])); break;
            case "remove": writer.remove(n[0]); say("ok"); break;
            case "offer": result(writer.offer(n[0], fill(n[1], n[2]), 0, n[1])); break;
            case "claim": result(writer.claim(n[0])); break;
            case "commit": writer.put(0, fill(n[1], n[2]), 0, n[1]); result(writer.commit(n[0], n[1])); break;
            case "abort": writer.abort(); say("ok"); break;
            case "pump": pump(n[0], n[1]); break;
            case "stat": say("%s", writer.stat()); break;
            default: writer.close(); say("ok");
        }
    }

    private void pump(long count, int most) {
        long end = Ring.now() + EXCHANGE_WITHIN_NS;
        for (long k = 0; k < count; ) {
            int code = writer.offer((int) k & 0xffff, scratch, 0, numbered(k, most));
            if (code == RingException.SENT) {
                k++;
            } else if (code != RingException.FULL || Ring.now() > end) {
                result(code);
                return;
            } else {
                Thread.yield();
            }
        }
        say("pumped");
    }

    private void read(int who, String[] word, int[] n) {
        Reader r = readers[who];
        switch (word[1]) {
            case "open": open(word, 3, fd -> readers[who] = new Reader(fd[0], fd[1], fd[2])); break;
            case "poll": polled(r, r.poll(n[0], this::each)); break;
            case "next": polled(r, r.poll(1, this::each)); break;
            case "drain": drain(r, n[0], n[1]); break;
            case "stat": say("%s", r.stat()); break;
            default: r.close(); say("ok");
        }
    }

    private void polled(Reader r, int code) {
        if (code == RingException.SHUT) {
            say("shut %d %d", r.state, r.reason);
        } else if (code == RingException.CORRUPT) {
            say("corrupt");
        } else if (answer.length() == 0) {
            say("nothing");
        }
    }

    private void drain(Reader r, long count, int most) {
        next = r.next();
        messages = lost = wrong = 0;
        int code = 0;
        for (long end = Ring.now() + EXCHANGE_WITHIN_NS; next < count && code >= 0 && wrong == 0 && Ring.now() < end; ) {
            code = r.poll(64, m -> drained(m, most));
            if (code == 0 && next < count) {
                r.await(4096, 16, 8);
            }
        }
        say("drained %d lost %d wrong %d code %d", messages, lost, wrong, Math.min(code, 0));
    }

    private void drained(Message m, int most) {
        if (m.what() == Message.GAP) {
            wrong |= m.number() != next ? 1 : 0;
            lost += m.last() - m.number() + 1;
            next = m.last() + 1;
            return;
        }
        int n = numbered(next, most);
        m.copy(0, seen, 0, m.bytes());
        wrong |= Arrays.equals(scratch, 0, n, seen, 0, m.bytes()) ? 0 : 1;
        messages++;
        next++;
    }
}
