package fire;

import sun.misc.Unsafe;

/** The reading end of one ring. It belongs to one thread; nothing here allocates after open, or waits but await. */
public final class Reader {
    private static final Unsafe MEMORY = Native.MEMORY;

    final Ring ring;
    final Ring.Gate gate = new Ring.Gate();
    private Ring.Mapped own; // the cursor
    private final long copy; // MESSAGE_MAX bytes of a broadcast; 0: a lane
    private final Message message = new Message();
    private long pos, messages, bytes;
    private long markPos, markNumber; // of readMark
    int error, state, reason; // why nothing is read any more

    /**
     * Maps a sealed ring for reading. The cursor is sealed by who made it once this has succeeded, and then given to
     * the writer. The descriptors stay the caller's.
     */
    public Reader(int dataFd, int cursorFd, int gateFd) throws RingException {
        if (!Native.sealed(dataFd)) {
            throw new RingException(RingException.UNSEALED);
        }
        ring = new Ring(dataFd, false);
        copy = ring.discipline == Layout.BROADCAST ? MEMORY.allocateMemory(Layout.MESSAGE_MAX) : 0;
        try {
            gate.open(gateFd, ring.epoch);
            own = Ring.Mapped.page(cursorFd, true, Layout.MAGIC_CURSOR, ring.epoch);
            if (copy == 0) {
                pos = Ring.load(own.at + Layout.OFF_POSITION);
            } else if (readMark()) {
                pos = markPos;
                messages = markNumber;
            } else {
                throw new RingException(RingException.CORRUPT);
            }
        } catch (RingException e) {
            close();
            throw e;
        }
        Ring.store(own.at + Layout.OFF_POSITION, pos);
        Native.expectFences();
    }

    /** Moves a lane's reader that has polled nothing yet. A broadcast's begins at the mark by itself. */
    void start(long position) throws RingException {
        if (copy != 0) {
            return;
        }
        if (messages != 0) {
            throw new RingException(RingException.INVALID);
        }
        pos = position;
        Ring.store(own.at + Layout.OFF_POSITION, position);
    }

    /** The number of the next message. */
    public long next() {
        return messages;
    }

    /** Reads the newest mark: a writer that dies leaves the last whole one. */
    private boolean readMark() {
        for (int tries = 0; tries < 1 << 20; tries++) {
            long m = Ring.load(ring.at + Layout.OFF_MARK), at = ring.at + Layout.OFF_MARKS + 16 * (m & 1);
            markPos = Ring.load(at);
            markNumber = Ring.load(at + 8);
            MEMORY.loadFence();
            if (Ring.load(ring.at + Layout.OFF_MARK) == m) {
                return true;
            }
        }
        return false; // it never rests
    }

    private boolean passed() {
        return Long.compareUnsigned(Ring.load(ring.at + Layout.OFF_INTENT), pos + ring.size) > 0;
    }

    private boolean there() {
        return Ring.load(ring.line(pos)) == pos + ring.key1 || copy != 0 && passed();
    }

    /** Whether a poll has something to say. */
    public boolean ready() {
        return error != 0 || there() || gate.state() != Layout.OPEN;
    }

    /**
     * Hands over what is there, most messages at most, and returns their number. A gap is handed over alone: 0 is
     * returned then. A negative code stays: CORRUPT, or SHUT, when the lane is revoked, or when it is closed or its
     * writer dead and all is read.
     */
    public int poll(int most, Message.Each each) {
        if (error == 0 && gate.state() == Layout.REVOKED) { // also when the writer goes on regardless
            end(Layout.REVOKED);
        }
        if (error != 0) {
            return error;
        }
        int n = 0, got = 0;
        while (n < most && (got = take(n > 0)) == 1) {
            each.found(message);
            if (message.what == Message.GAP) {
                return 0;
            }
            n++;
        }
        if (got < 0) {
            error = got;
        }
        if (n > 0) {
            Ring.store(own.at + Layout.OFF_POSITION, pos);
            MEMORY.putLong(own.at + Layout.OFF_READ, messages);
            MEMORY.putLong(own.at + Layout.OFF_READ + 8, bytes);
            return n;
        }
        return got < 0 ? got : shut();
    }

    private int end(int s) {
        state = s;
        reason = gate.reason();
        error = RingException.SHUT;
        return error;
    }

    /** Asked when nothing was there: a shut gate ends the reading once everything published before is read. */
    private int shut() {
        int s = gate.state();
        if (s == Layout.OPEN || (s == Layout.ORPHANED || s == Layout.CLOSED) && there()) {
            return 0;
        }
        return end(s);
    }

    /** Reads what is at pos: 1 with a message or gap, 0 for nothing, or a code. */
    private int take(boolean before) {
        for (int pads = 0; pads < 2; pads++) { // a writer pads once before a message
            long line = ring.line(pos);
            if (Ring.load(line) != pos + ring.key1) {
                return copy != 0 && passed() && !before ? lapped() : 0;
            }
            long head = Ring.load(line + Layout.OFF_LENGTH), n = head & 0xffffffffL, lines = Layout.linesOf(n);
            int flags = (int) (head >>> 48);
            boolean pad = (flags & Layout.FLAG_PAD) != 0;
            boolean ok = lines <= ring.size - (pos & ring.mask) && (n <= Layout.MESSAGE_MAX || pad);
            message.at = line + Layout.OFF_PAYLOAD;
            if (copy != 0) {
                if (ok && !pad) {
                    MEMORY.copyMemory(line + Layout.OFF_PAYLOAD, copy, n);
                    message.at = copy;
                }
                MEMORY.loadFence();
                if (passed()) { // it was being written over meanwhile
                    return before ? 0 : lapped();
                }
            }
            if (!ok) {
                return RingException.CORRUPT;
            }
            if ((flags & Layout.FLAG_SAMPLE) != 0 && !pad) {
                sample();
            }
            pos += lines;
            if (!pad) {
                message.what = Message.MESSAGE;
                message.type = (int) (head >>> 32) & 0xffff;
                message.bytes = (int) n;
                message.number = messages++;
                bytes += n;
                return 1;
            }
        }
        return 0;
    }

    /** Goes on at the mark. */
    private int lapped() {
        if (!readMark() || Long.compareUnsigned(markPos, pos) <= 0 || Long.compareUnsigned(markNumber, messages) <= 0) {
            return RingException.CORRUPT;
        }
        message.what = Message.GAP;
        message.bytes = 0;
        message.number = messages;
        message.last = markNumber - 1;
        Ring.add(own.at + Layout.OFF_READ + 16, 1);
        Ring.add(own.at + Layout.OFF_READ + 24, markNumber - messages);
        pos = markPos;
        messages = markNumber;
        Ring.store(own.at + Layout.OFF_POSITION, pos);
        return 1;
    }

    /** Enters the age of a message whose time of publication is known. */
    private void sample() {
        long at = Ring.load(ring.at + Layout.OFF_SAMPLED_AT);
        if (Ring.load(ring.at + Layout.OFF_SAMPLED) == pos + 1) { // else the writer has sampled another since
            long age = Math.max(Ring.now() - at, 1);
            Ring.add(own.at + Layout.OFF_LATENCY + 8 * (63 - Long.numberOfLeadingZeros(age)), 1);
        }
    }

    /** True when poll has something to say, false after one round: looks, looks with yields, and sleep up to ms. */
    public boolean await(int spins, int yields, int ms) {
        for (int i = 0; i < spins; i++) {
            if (ready()) {
                return true;
            }
        }
        for (int i = 0; i < yields; i++) {
            Thread.yield();
            if (ready()) {
                return true;
            }
        }
        if (ms > 0) {
            sleep(ms);
        }
        return ready();
    }

    /** Waits for the writer's bell. */
    void sleep(int ms) {
        long asleep = own.at + Layout.OFF_ASLEEP, bell = ring.at + Layout.OFF_BELL;
        int rung = MEMORY.getIntVolatile(null, bell);
        MEMORY.putIntVolatile(null, asleep, 1);
        if (!Native.fenceAll()) {
            ms = 1; // the writer may not see that we sleep
        }
        if (!ready()) {
            Ring.add(own.at + Layout.OFF_READ + 32, 1);
            Native.futexWait(bell, rung, ms);
        }
        MEMORY.putIntVolatile(null, asleep, 0);
    }

    public String stat() {
        long at = own.at + Layout.OFF_READ, behind = Ring.load(ring.at + Layout.OFF_WRITTEN + 40) - Ring.load(own.at + Layout.OFF_POSITION);
        return Writer.statOf(ring, gate) + String.format(" read %d %d laps %d lost %d waits %d lag %d", Ring.load(at), Ring.load(at + 8),
            Ring.load(at + 16), Ring.load(at + 24), Ring.load(at + 32), Math.max(behind, 0));
    }

    public void close() {
        if (own != null) {
            own.close();
        }
        if (copy != 0) {
            MEMORY.freeMemory(copy);
        }
        gate.close();
        ring.mapped.close();
    }
}
