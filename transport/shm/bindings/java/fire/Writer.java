package fire;

import java.util.Objects;
import sun.misc.Unsafe;

/** The writing end of one ring. It belongs to one thread; nothing here allocates after open, or waits. */
public final class Writer {
    private static final Unsafe MEMORY = Native.MEMORY;

    /** A reader as the writer sees it. */
    static final class Peer {
        long link;
        final long device, inode;
        final Ring.Mapped cursor;
        int button = -1; // of its doorbell, -1: it sleeps on the bell

        Peer(long link, int cursorFd, long epoch) throws RingException {
            long[] stat = Native.stat(cursorFd);
            if (stat == null || !Native.sealed(cursorFd)) {
                throw new RingException(RingException.UNSEALED);
            }
            cursor = Ring.Mapped.page(cursorFd, false, Layout.MAGIC_CURSOR, epoch);
            this.link = link;
            device = stat[0];
            inode = stat[1];
        }

        boolean asleep() {
            return MEMORY.getIntVolatile(null, cursor.at + Layout.OFF_ASLEEP) != 0;
        }

        void close() {
            cursor.close();
            Native.close(button);
        }
    }

    final Ring ring;
    final Ring.Gate gate = new Ring.Gate();
    final Peer[] peers = new Peer[Layout.READERS_MAX];
    int readers;
    private final long lengthMax, counters;
    private final boolean lane;
    private long pos, clear, limit, intent, messages, bytes, sampleAt;
    private long claimed, claimBytes; // claimed 0: no claim

    /** Maps the ring for writing. It is sealed by who made it once this has succeeded. The descriptors stay the caller's. */
    public Writer(int dataFd, int gateFd) throws RingException {
        ring = new Ring(dataFd, true);
        try {
            if (Ring.load(ring.at + Layout.OFF_WRITTEN) != 0 || Ring.load(ring.at + Layout.OFF_INTENT) != 0) {
                throw new RingException(RingException.USED);
            }
            gate.open(gateFd, ring.epoch);
        } catch (RingException e) {
            close();
            throw e;
        }
        lane = ring.discipline == Layout.LANE;
        counters = ring.at + Layout.OFF_WRITTEN;
        lengthMax = Math.min(Layout.MESSAGE_MAX, ring.size / 4 * Layout.LINE_BYTES - Layout.HEADER_BYTES);
        Native.expectFences();
    }

    /** Lets the writer respect and wake a reader; link is the caller's name for it. */
    public void add(int cursorFd, long link) throws RingException {
        if (readers == peers.length) {
            throw new RingException(RingException.BUSY);
        }
        peers[readers] = new Peer(link, cursorFd, ring.epoch);
        readers++;
    }

    /** As add, for a reader that waits in a poll loop. The writer takes a copy of the button. */
    public void addWithDoorbell(int cursorFd, int buttonFd, long link) throws RingException {
        int button = Native.button(buttonFd);
        try {
            add(cursorFd, link);
        } catch (RingException e) {
            Native.close(button);
            throw e;
        }
        peers[readers - 1].button = button;
    }

    /** Forgets a reader: the writer waits for it no longer. */
    public void remove(long link) {
        for (int i = 0; i < readers; i++) {
            if (peers[i].link == link) {
                peers[i].close();
                peers[i] = peers[--readers];
                peers[readers] = null;
                return;
            }
        }
    }

    /** Writes one message and publishes it: SENT, FULL, TOO_LONG or SHUT. It never waits. */
    public int offer(int type, byte[] p, int from, int n) {
        Objects.checkFromIndexSize(from, n, p.length);
        if (pos + Layout.linesOf(n) > clear || gate.state() != Layout.OPEN) {
            int code = reserve(n);
            if (code != RingException.SENT) {
                return code;
            }
        }
        long line = ring.line(pos);
        MEMORY.copyMemory(p, Unsafe.ARRAY_BYTE_BASE_OFFSET + from, null, line + Layout.OFF_PAYLOAD, n);
        publish(line, n, type);
        return RingException.SENT;
    }

    /** Makes room for n bytes, to be filled by put and published by commit, or given back by abort. */
    public int claim(int n) {
        claimed = 0;
        int code = n < 0 ? RingException.INVALID : reserve(n);
        if (code == RingException.SENT) {
            claimed = ring.line(pos);
            claimBytes = n;
        }
        return code;
    }

    /** Writes into the claim. */
    public void put(int at, byte[] p, int from, int n) {
        Objects.checkFromIndexSize(from, n, p.length);
        Objects.checkFromIndexSize(at, n, claimed != 0 ? (int) claimBytes : 0);
        MEMORY.copyMemory(p, Unsafe.ARRAY_BYTE_BASE_OFFSET + from, null, claimed + Layout.OFF_PAYLOAD + at, n);
    }

    /** Publishes the first n bytes of the claim. */
    public int commit(int type, int n) {
        long line = claimed;
        if (line == 0 || n < 0 || n > claimBytes) {
            return RingException.INVALID;
        }
        claimed = 0;
        publish(line, n, type);
        return RingException.SENT;
    }

    public void abort() {
        claimed = 0;
    }

    /** Makes contiguous room for n bytes at pos, padding up to the end of the memory where it must. */
    private int reserve(long n) {
        if (gate.state() != Layout.OPEN) {
            return RingException.SHUT;
        }
        if (n > lengthMax) {
            return RingException.TOO_LONG;
        }
        long need = Layout.linesOf(n), left = ring.size - (pos & ring.mask);
        if (left >= need) {
            left = 0;
        }
        if (!may(left + need)) {
            return RingException.FULL;
        }
        if (pos + left + need > intent) {
            mark(left + need);
        }
        if (left > 0) {
            long line = ring.line(pos);
            MEMORY.putLong(line + Layout.OFF_LENGTH, left * Layout.LINE_BYTES - Layout.HEADER_BYTES | (long) Layout.FLAG_PAD << 48);
            Ring.store(line, pos + ring.key1);
            pos += left;
            Ring.add(counters + 32, left);
        }
        clear = Math.min(intent, (pos | ring.mask) + 1); // the end of this lap
        if (lane) {
            clear = Math.min(clear, limit);
        }
        return RingException.SENT;
    }

    /** Whether need more lines can be written, looking at the cursors anew when the limit seems to be reached. */
    private boolean may(long need) {
        if (!lane || pos + need <= limit) {
            return true;
        }
        long l = readers == 0 ? ring.size : pos + ring.size; // without readers nobody has read anything
        for (int i = 0; i < readers; i++) {
            long p = Ring.load(peers[i].cursor.at + Layout.OFF_POSITION);
            if (Long.compareUnsigned(p, pos) <= 0) { // one that runs ahead lies, to its own harm
                l = Math.min(l, p + ring.size);
            }
        }
        limit = l;
        if (pos + need <= limit) {
            return true;
        }
        Ring.add(counters + 16, 1);
        return false;
    }

    /** Tells those whom the writer does not wait for how far it goes, and where the next message begins. */
    private void mark(long need) {
        intent = pos + Math.max(need, ring.size / 8);
        long m = Ring.load(ring.at + Layout.OFF_MARK) + 1, at = ring.at + Layout.OFF_MARKS + 16 * (m & 1);
        Ring.store(at, pos);
        Ring.store(at + 8, messages);
        Ring.store(ring.at + Layout.OFF_MARK, m);
        Ring.store(ring.at + Layout.OFF_INTENT, intent);
        MEMORY.fullFence(); // before any line that it covers
    }

    /** Writes the head and lets the message be seen: its sequence comes last. */
    private void publish(long line, long n, int type) {
        long head = n | (type & 0xffffL) << 32;
        if (messages >= sampleAt) {
            sampleAt = messages + Layout.SAMPLE_EVERY;
            head |= (long) Layout.FLAG_SAMPLE << 48;
            Ring.store(ring.at + Layout.OFF_SAMPLED_AT, Ring.now());
            Ring.store(ring.at + Layout.OFF_SAMPLED, pos + 1);
        }
        MEMORY.putLong(line + Layout.OFF_LENGTH, head);
        Ring.store(line, pos + ring.key1);
        pos += Layout.linesOf(n);
        messages++;
        bytes += n;
        MEMORY.putLong(counters, messages);
        MEMORY.putLong(counters + 8, bytes);
        MEMORY.putLong(counters + 40, pos);
        // No fence: that of a reader that is about to sleep is its membarrier. A volatile load
        // keeps its place for the compiler.
        for (int i = 0; i < readers; i++) {
            if (peers[i].asleep()) {
                sampleAt = messages; // the clock costs little beside the call
                Ring.add(counters + 24, 1);
                MEMORY.getAndAddInt(null, ring.at + Layout.OFF_BELL, 1);
                Native.futexWake(ring.at + Layout.OFF_BELL);
                ringDoorbells();
                return;
            }
        }
    }

    private void ringDoorbells() {
        for (int i = 0; i < readers; i++) {
            if (peers[i].button >= 0 && peers[i].asleep()) {
                Native.ring(peers[i].button);
            }
        }
    }

    /** The line up to which messages are published. */
    long position() {
        return Ring.load(counters + 40);
    }

    /** What the direct node says of the lane: 1 open, 2 revoked, 3 closed. */
    public int state() {
        return gate.state();
    }

    public int reason() {
        return gate.reason();
    }

    public String stat() {
        return statOf(ring, gate) + " read 0 0 laps 0 lost 0 waits 0 lag 0";
    }

    static String statOf(Ring r, Ring.Gate g) {
        long at = r.at + Layout.OFF_WRITTEN;
        return String.format("%s %d state %d %d lines %d epoch %d messages %d bytes %d full %d bells %d padding %d position %d", r.name, r.discipline,
            g.state(), g.reason(), r.size, r.epoch, Ring.load(at), Ring.load(at + 8), Ring.load(at + 16), Ring.load(at + 24), Ring.load(at + 32),
            Ring.load(at + 40));
    }

    public void close() {
        while (readers > 0) {
            peers[--readers].close();
        }
        gate.close();
        ring.mapped.close();
    }
}
