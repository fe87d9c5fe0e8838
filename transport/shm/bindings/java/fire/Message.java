package fire;

import java.util.Objects;
import sun.misc.Unsafe;

/** What a poll finds. One object serves all messages of a reader: it is valid during the call only. */
public final class Message {
    public static final int MESSAGE = 0;
    public static final int GAP = 1; // messages number to last of a broadcast are lost
    public static final int END = 2; // no more comes from this lane

    /** Told what a poll finds. */
    public interface Each {
        void found(Message m);
    }

    int what, type, bytes, error, state, reason;
    long at, number, last;
    End.Lane from;

    Message() {}

    public int what() {
        return what;
    }

    public int type() {
        return type;
    }

    public int bytes() {
        return bytes;
    }

    /** Counted from 0; a lane's reader counts from where it began. */
    public long number() {
        return number;
    }

    public long last() {
        return last;
    }

    /** Of END: SHUT, with state and reason, or CORRUPT. */
    public int error() {
        return error;
    }

    public int state() {
        return state;
    }

    public int reason() {
        return reason;
    }

    public End.Lane from() {
        return from;
    }

    /** The i-th byte. A lane's bytes are the ring's own memory, which a hostile writer may change meanwhile. */
    public byte get(int i) {
        return Native.MEMORY.getByte(at + Objects.checkIndex(i, bytes));
    }

    /** Eight bytes from i on, little-endian. */
    public long getLong(int i) {
        Objects.checkFromIndexSize(i, 8, bytes);
        return Native.MEMORY.getLong(at + i);
    }

    /** Makes a gap of a direct node's message that says what was lost on the way from another host. */
    void lost() {
        number = getLong(0);
        last = getLong(8);
        what = GAP;
    }

    /** Copies n bytes from i on. */
    public void copy(int i, byte[] to, int where, int n) {
        Objects.checkFromIndexSize(i, n, bytes);
        Objects.checkFromIndexSize(where, n, to.length);
        Native.MEMORY.copyMemory(null, at + i, to, Unsafe.ARRAY_BYTE_BASE_OFFSET + where, n);
    }
}
