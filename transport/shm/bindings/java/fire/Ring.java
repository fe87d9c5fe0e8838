package fire;

import java.nio.charset.StandardCharsets;
import sun.misc.Unsafe;

/** What both ends know of a mapped ring: its numbers were read once, and checked against the size of its memory. */
final class Ring {
    private static final Unsafe MEMORY = Native.MEMORY;

    /** A mapping. */
    static final class Mapped {
        final long at, bytes;

        /** Maps all of fd. exact is its size; 0 is that of a ring. */
        Mapped(int fd, boolean writable, long exact) throws RingException {
            long[] stat = Native.stat(fd);
            if (stat == null) {
                throw new RingException(RingException.SYSTEM);
            }
            bytes = stat[2];
            long lines = (bytes - Layout.DATA_HEAD_BYTES) / Layout.LINE_BYTES;
            boolean ring = bytes > Layout.DATA_HEAD_BYTES && (bytes - Layout.DATA_HEAD_BYTES) % Layout.LINE_BYTES == 0 && lines >= Layout.LINES_MIN
                && lines <= Layout.LINES_MAX && Long.bitCount(lines) == 1;
            if (exact != 0 ? bytes != exact : !ring) {
                throw new RingException(RingException.SIZE);
            }
            at = Native.map(fd, bytes, writable);
            if (at == 0) {
                throw new RingException(RingException.SYSTEM);
            }
        }

        /** Maps memory of one page, with that head and epoch. */
        static Mapped page(int fd, boolean writable, long magic, long epoch) throws RingException {
            Mapped m = new Mapped(fd, writable, Layout.CURSOR_BYTES);
            int code = head(m.at, magic);
            if (code == 0 && load(m.at + Layout.OFF_EPOCH) != epoch) {
                code = RingException.EPOCH;
            }
            if (code != 0) {
                m.close();
                throw new RingException(code);
            }
            return m;
        }

        void close() {
            Native.unmap(at, bytes);
        }
    }

    /** A peer's side of a gate. */
    static final class Gate {
        private Mapped mapped;
        private int state, reason; // of this side's own, when there is no direct node to say it; 0: the gate counts

        void open(int fd, long epoch) throws RingException {
            if (!Native.sealed(fd)) {
                throw new RingException(RingException.UNSEALED);
            }
            Mapped m = Mapped.page(fd, false, Layout.MAGIC_GATE, epoch);
            close();
            mapped = m;
        }

        int state() {
            return state != 0 ? state : MEMORY.getIntVolatile(null, mapped.at + Layout.OFF_STATE);
        }

        int reason() {
            return state != 0 ? reason : MEMORY.getIntVolatile(null, mapped.at + Layout.OFF_REASON);
        }

        void shut(int state, int reason) {
            this.reason = reason;
            this.state = state;
        }

        void close() {
            if (mapped != null) {
                mapped.close();
            }
            mapped = null;
        }
    }

    final Mapped mapped;
    final long at, lines, size, mask, key1, epoch;
    final int discipline;
    final String name;

    Ring(int fd, boolean writable) throws RingException {
        mapped = new Mapped(fd, writable, 0);
        at = mapped.at;
        lines = at + Layout.DATA_HEAD_BYTES;
        size = (mapped.bytes - Layout.DATA_HEAD_BYTES) / Layout.LINE_BYTES;
        mask = size - 1;
        int code = head(at, Layout.MAGIC_DATA);
        int length = MEMORY.getIntVolatile(null, at + Layout.OFF_NAME_LEN);
        discipline = MEMORY.getIntVolatile(null, at + Layout.OFF_DISCIPLINE);
        if (code == 0 && (load(at + Layout.OFF_LINES) != size || length <= 0 || length > Layout.NAME_MAX
            || discipline != Layout.LANE && discipline != Layout.BROADCAST)) {
            code = RingException.HEAD;
        }
        if (code != 0) {
            mapped.close();
            throw new RingException(code);
        }
        byte[] text = new byte[length];
        MEMORY.copyMemory(null, at + Layout.OFF_NAME, text, Unsafe.ARRAY_BYTE_BASE_OFFSET, length);
        name = new String(text, StandardCharsets.UTF_8);
        epoch = load(at + Layout.OFF_EPOCH);
        key1 = load(at + Layout.OFF_KEY) + 1;
    }

    long line(long pos) {
        return lines + (pos & mask) * Layout.LINE_BYTES;
    }

    private static int head(long at, long magic) {
        if (load(at + Layout.OFF_MAGIC) != magic) {
            return RingException.FOREIGN;
        }
        if (MEMORY.getIntVolatile(null, at + Layout.OFF_VERSION) != Layout.LAYOUT_VERSION) {
            return RingException.VERSION;
        }
        return load(at + Layout.OFF_HASH) == Layout.LAYOUT_HASH ? 0 : RingException.LAYOUT;
    }

    /** A load before which no later one is made. */
    static long load(long at) {
        return MEMORY.getLongVolatile(null, at);
    }

    /** A store that comes after all earlier ones. */
    static void store(long at, long v) {
        MEMORY.putOrderedLong(null, at, v);
    }

    /** Adds to a number that nobody decides by. */
    static void add(long at, long n) {
        MEMORY.putLong(at, MEMORY.getLong(at) + n);
    }

    /** CLOCK_MONOTONIC in ns, which all processes of a host share: HotSpot's nanoTime is it. */
    static long now() {
        return System.nanoTime();
    }
}
