package fire;

/** The numbers of transport/shm/doc.go; a test there compares them with Go's. */
final class Layout {
    private Layout() {}

    static final int LAYOUT_VERSION = 1;
    static final long LAYOUT_HASH = 0x47dce5d1ebb7faa4L;

    static final int LINE_BYTES = 64;
    static final int HEADER_BYTES = 16; // of a message
    static final int LINES_MIN = 64;
    static final int LINES_MAX = 67108864;
    static final int MESSAGE_MAX = 65536; // bytes of a message
    static final int NAME_MAX = 63;
    static final int DATA_HEAD_BYTES = 4096;
    static final int CURSOR_BYTES = 4096;
    static final int GATE_BYTES = 4096;
    static final int READERS_MAX = 32;
    static final int SAMPLE_EVERY = 1024; // messages share one look at the clock, at most

    static final long MAGIC_DATA = 0x474e495245524946L;   // "FIRERING"
    static final long MAGIC_CURSOR = 0x5352554345524946L; // "FIRECURS"
    static final long MAGIC_GATE = 0x4554414745524946L;   // "FIREGATE"

    // data
    static final int OFF_MAGIC = 0;
    static final int OFF_VERSION = 8;
    static final int OFF_DISCIPLINE = 12;
    static final int OFF_HASH = 16;
    static final int OFF_LINES = 24;
    static final int OFF_KEY = 32;
    static final int OFF_EPOCH = 40;
    static final int OFF_CREATED = 48;
    static final int OFF_NAME_LEN = 56;
    static final int OFF_NAME = 64;
    static final int OFF_MARK = 128;
    static final int OFF_MARKS = 136;
    static final int OFF_INTENT = 256;
    static final int OFF_BELL = 384;
    static final int OFF_SAMPLED = 512;
    static final int OFF_SAMPLED_AT = 520;
    static final int OFF_WRITTEN = 640; // counters: messages, bytes, full, bells, padding, position

    // message
    static final int OFF_LENGTH = 8;
    static final int OFF_PAYLOAD = 16;
    static final int FLAG_PAD = 1;
    static final int FLAG_SAMPLE = 2;

    // cursor
    static final int OFF_POSITION = 128;
    static final int OFF_ASLEEP = 256;
    static final int OFF_READ = 384; // counters: messages, bytes, laps, lost, waits
    static final int OFF_LATENCY = 512;

    // gate
    static final int OFF_STATE = 128;
    static final int OFF_REASON = 132;

    // discipline
    static final int LANE = 1;
    static final int BROADCAST = 2;

    // state of a gate
    static final int OPEN = 1;
    static final int REVOKED = 2;
    static final int CLOSED = 3;
    static final int ORPHANED = 4;

    static final int SEALS = 0x17; // F_SEAL_SEAL, SHRINK, GROW and FUTURE_WRITE

    static long linesOf(long bytes) {
        return (bytes + HEADER_BYTES + LINE_BYTES - 1) / LINE_BYTES;
    }
}
