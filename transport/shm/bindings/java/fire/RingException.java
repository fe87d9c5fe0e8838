package fire;

/** What went wrong. The codes are those of fire_ring.h. */
public final class RingException extends Exception {
    public static final int SENT = 0, FULL = -1, TOO_LONG = -2, SHUT = -3, CORRUPT = -4, SYSTEM = -5, UNSEALED = -6, SIZE = -7, FOREIGN = -8,
        VERSION = -9, LAYOUT = -10, HEAD = -11, EPOCH = -12, USED = -13, BUSY = -14, UNREACHABLE = -15, REFUSED = -16, PROTOCOL = -17,
        INVALID = -18, NOT_YET = -19, NO_DOORBELL = -20;

    private static final String[] WORDS = {
        "no error", "a reader of the lane is that far behind: nothing was written",
        "the message is longer than 65536 bytes or than a quarter of the ring", "the channel is shut",
        "the ring holds what no writer of this layout writes", "a system call failed",
        "the memory is not sealed: its owner could still shrink or rewrite it", "the memory has a size that no such memory has",
        "this is no such memory: it begins with another word", "the memory has another layout version: update the older side",
        "the memory has another layout hash: one side was built from a changed layout", "the head of the ring makes no sense",
        "the memories are of different epochs", "the ring has had a writer; a new one needs a new ring",
        "no place for one more reader or lane", "no direct node answers at the socket; is `fire run --role direct` running on this host?",
        "the direct node has refused this end", "the direct node does not speak this attach protocol", "an argument makes no sense",
        "the direct node has given no ring yet", "this is no doorbell, which is a unix datagram socket"};

    public final int code;
    public final int reason; // the direct node's number, if it said one

    RingException(int code) {
        this(code, 0, words(code));
    }

    RingException(int code, int reason, String text) {
        super(text, null, false, false);
        this.code = code;
        this.reason = reason;
    }

    public static String words(int code) {
        return code <= 0 && code > -WORDS.length ? WORDS[-code] : "unknown";
    }
}
