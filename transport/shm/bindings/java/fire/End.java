package fire;

import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import sun.misc.Unsafe;

/**
 * This program's hold on a channel of kind orders or broadcast, as transport/channel/doc.go specifies it. It belongs to
 * one thread, which calls service every few milliseconds: that talks with the direct node and never waits. Messages
 * cost no allocation; lanes and readers that come and go do.
 */
public final class End {
    public static final int PUBLISH = 1, SUBSCRIBE = 2;

    private static final Unsafe MEMORY = Native.MEMORY;
    private static final int PACKET_MAX = 1024, FDS_MAX = 4, LANES_MAX = 256, TEXT_MAX = 512;
    private static final int ATTACH = 1, HELD = 2, MAPPED = 3, ADDED = 4, DETACH = 5;
    private static final int WELCOME = 16, LANE = 17, READER = 18, START = 19, GONE = 20, REFUSED = 21, ADOPTED = 22, SETTLED = 23;
    private static final int RPC = 3;
    private static final long FAR_LANE = -1;
    private static final int TYPE_LOST = 0xffff;
    private static final int SPIN = 1, SPIN_YIELD = 2;
    private static final long HELD_MARK = 1L << 63; // in links that a direct node which is gone has given
    private static final long RETRY_NS = 50_000_000, ATTACH_NS = 5_000_000_000L, GOODBYE_NS = 1_000_000_000L;

    /** One ring that this end writes or reads. */
    public static final class Lane {
        long link;
        boolean begun, far; // far: its publisher is on another host
        final int dataFd, cursorFd; // kept: without them nothing can be adopted
        final Writer writer; // one of both
        final Reader reader;
        final String service;

        Lane(long link, String service, int dataFd, int cursorFd, Writer w, Reader r) {
            this.link = link;
            this.service = service;
            this.dataFd = dataFd;
            this.cursorFd = cursorFd;
            writer = w;
            reader = r;
        }

        /** The service at the other end. */
        public String service() {
            return service;
        }

        Ring.Gate gate() {
            return writer != null ? writer.gate : reader.gate;
        }

        void close() {
            if (writer != null) {
                writer.close();
            } else {
                reader.close();
            }
            Native.close(dataFd);
            Native.close(cursorFd);
        }
    }

    private final byte[] socket;
    private final String channel, asks;
    private final int side;
    private final List<Lane> lanes = new ArrayList<>();
    private Lane[] in = {}; // those that have begun, for poll
    private final Message ended = new Message();
    private Lane current; // whose messages are handed over
    private Message.Each each;
    private final Message.Each tell = m -> {
        m.from = current;
        if (current.far && m.what == Message.MESSAGE && m.type == TYPE_LOST && m.bytes == 16) {
            m.lost(); // on the way from another host, as its direct node says
        }
        each.found(m);
    };

    // The header of sendmsg and recvmsg, one iovec, control data, the packet.
    private final long room = MEMORY.allocateMemory(56 + 16 + 64 + PACKET_MAX + 1);
    private final long vector = room + 56, control = vector + 16, packet = control + 64;
    private final int[] fds = new int[FDS_MAX];
    private int fdCount;

    private int sock = -1, turn, losses;
    private long retryAt;
    private int kind, wait, reason, error;
    private boolean refused, closed;
    private String text = "", service = "";
    private Writer out;

    /** Attaches, and waits until the end can be used, 5 s at most. service "" is the only one that this program may be. */
    public End(String socketPath, String channel, String service, int side) throws RingException {
        socket = socketPath.getBytes(StandardCharsets.UTF_8);
        this.channel = channel;
        this.asks = service;
        this.side = side;
        if (socket.length > 107 || bytesOf(channel).length == 0 || bytesOf(channel).length > Layout.NAME_MAX
            || bytesOf(service).length > Layout.NAME_MAX || side != PUBLISH && side != SUBSCRIBE) {
            throw new RingException(RingException.INVALID);
        }
        int code = connect() ? 0 : RingException.UNREACHABLE;
        for (long until = Ring.now() + ATTACH_NS; code == 0 && Ring.now() < until; ) {
            service();
            if (refused) {
                code = RingException.REFUSED;
            } else if (kind == RPC) {
                code = RingException.INVALID; // pairs are not for this binding
            } else if (kind != 0 && (side == SUBSCRIBE || out != null)) {
                return;
            } else {
                Native.readable(sock, 10);
            }
        }
        detach();
        if (code == RingException.REFUSED) {
            throw new RingException(code, reason, text);
        }
        throw new RingException(code != 0 ? code : error != 0 ? error : RingException.UNREACHABLE);
    }

    private static byte[] bytesOf(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    // ---- packets

    private static ByteBuffer begin(int type, long id) {
        ByteBuffer b = ByteBuffer.allocate(PACKET_MAX).order(ByteOrder.LITTLE_ENDIAN);
        return b.putShort((short) type).putShort((short) 1).putInt(0).putLong(id);
    }

    private boolean send(ByteBuffer b, int... fds) {
        int n = b.position();
        b.putInt(4, n - 16);
        MEMORY.copyMemory(b.array(), Unsafe.ARRAY_BYTE_BASE_OFFSET, null, packet, n);
        header(n, fds.length > 0 ? 16 + (4 * fds.length + 7 & ~7) : 0);
        if (fds.length > 0) {
            MEMORY.putLong(control, 16 + 4 * fds.length);
            MEMORY.putInt(control + 8, 1);  // SOL_SOCKET
            MEMORY.putInt(control + 12, 1); // SCM_RIGHTS
            for (int i = 0; i < fds.length; i++) {
                MEMORY.putInt(control + 16 + 4 * i, fds[i]);
            }
        }
        return Native.sendmsg(sock, room) == n;
    }

    private void header(int bytes, int controlBytes) {
        MEMORY.setMemory(room, 56, (byte) 0);
        MEMORY.setMemory(control, 64, (byte) 0);
        MEMORY.putLong(vector, packet);
        MEMORY.putLong(vector + 8, bytes);
        MEMORY.putLong(room + 16, vector);
        MEMORY.putLong(room + 24, 1);
        MEMORY.putLong(room + 32, controlBytes > 0 ? control : 0);
        MEMORY.putLong(room + 40, controlBytes);
    }

    /** The next packet, to be read from behind its head; its descriptors in fds. Null is the direct node's end. */
    private ByteBuffer receive() throws RingException {
        header(PACKET_MAX + 1, 32); // room for four descriptors
        long n = Native.recvmsg(sock, room);
        long length = MEMORY.getLong(control);
        fdCount = 0;
        if (n >= 0 && MEMORY.getLong(room + 40) >= 16 && MEMORY.getInt(control + 8) == 1 && MEMORY.getInt(control + 12) == 1) {
            for (int i = 0; i < FDS_MAX && 16 + 4 * (i + 1) <= length; i++) {
                fds[fdCount++] = MEMORY.getInt(control + 16 + 4 * i);
            }
        }
        if (n <= 0) {
            closeFds();
            return null;
        }
        byte[] b = new byte[(int) n];
        MEMORY.copyMemory(null, packet, b, Unsafe.ARRAY_BYTE_BASE_OFFSET, n);
        ByteBuffer k = ByteBuffer.wrap(b).order(ByteOrder.LITTLE_ENDIAN);
        int flags = MEMORY.getInt(room + 48), cut = 0x20 | 0x8; // MSG_TRUNC, MSG_CTRUNC
        if ((flags & cut) != 0 || n < 16 || n > PACKET_MAX || k.getShort(2) != 1 || k.getInt(4) != n - 16) {
            throw new RingException(RingException.PROTOCOL);
        }
        return k.position(16);
    }

    private void closeFds() {
        while (fdCount > 0) {
            Native.close(fds[--fdCount]);
        }
    }

    private static String name(ByteBuffer k) throws RingException {
        return text(k, k.get() & 0xff, Layout.NAME_MAX);
    }

    private static String text(ByteBuffer k, int n, int most) throws RingException {
        if (n > most) {
            throw new RingException(RingException.PROTOCOL);
        }
        byte[] b = new byte[n];
        k.get(b);
        return new String(b, StandardCharsets.UTF_8);
    }

    /** Refuses a packet that is longer, or has another number of descriptors, than its type has. */
    private void want(ByteBuffer k, int fds) throws RingException {
        if (k.hasRemaining() || fdCount != fds) {
            throw new RingException(RingException.PROTOCOL);
        }
    }

    // ---- the talk

    /** Asks once for a direct node. Lanes that never began are not held up: it offers them anew. */
    private boolean connect() {
        retryAt = Ring.now() + RETRY_NS;
        for (Lane l : List.copyOf(lanes)) {
            if (l.reader != null && !l.begun) {
                lanes.remove(l);
                l.close();
            }
        }
        sock = Native.connect(socket);
        if (sock >= 0 && ask()) {
            return true;
        }
        Native.close(sock);
        sock = -1;
        return false;
    }

    /** Sends attach, then what is held up. */
    private boolean ask() {
        byte[] c = bytesOf(channel), s = bytesOf(asks);
        ByteBuffer b = begin(ATTACH, 0).putLong(Layout.LAYOUT_HASH).put((byte) side).put((byte) 0).putShort((short) lanes.size());
        boolean ok = send(b.put((byte) c.length).put(c).put((byte) s.length).put(s));
        for (Lane l : lanes) {
            ByteBuffer held = begin(HELD, l.link);
            ok = ok && (l.writer != null ? send(held, l.dataFd) : send(held, l.dataFd, l.cursorFd));
        }
        return ok;
    }

    /** Loses the direct node. The rings go on. */
    private void drop(int why) {
        if (sock >= 0) {
            Native.close(sock);
            sock = -1;
            error = why;
            losses++;
            retryAt = Ring.now(); // once more at once, then after pauses
        }
    }

    private void say(ByteBuffer b) {
        if (sock >= 0 && !send(b)) {
            drop(RingException.UNREACHABLE);
        }
    }

    /**
     * Talks with the direct node and never waits: takes new lanes and readers, and finds the next direct node when
     * one goes away. False when the end is over. Not to be called while poll hands messages over.
     */
    public boolean service() {
        if (!refused && sock < 0 && Ring.now() - retryAt >= 0) {
            connect();
        }
        for (int n = 0; n < 256 && sock >= 0 && Native.readable(sock, 0); n++) {
            try {
                ByteBuffer k = receive();
                if (k == null) {
                    drop(RingException.UNREACHABLE);
                } else {
                    on(k.getShort(0), k.getLong(8), k);
                }
            } catch (RingException e) {
                drop(e.code);
            } catch (BufferUnderflowException e) {
                drop(RingException.PROTOCOL);
            }
            closeFds();
        }
        return !refused;
    }

    private void on(int type, long id, ByteBuffer k) throws RingException {
        switch (type) {
            case WELCOME:
                onWelcome(k);
                break;
            case LANE:
                onLane(id, k);
                break;
            case READER:
                onReader(id, k);
                break;
            case START:
                onStart(id, k);
                break;
            case GONE:
                want(k, 0);
                onGone(id);
                break;
            case REFUSED:
                onRefused(k);
                break;
            case ADOPTED:
                onAdopted(id, k);
                break;
            case SETTLED:
                want(k, 0);
                onSettled(id);
                break;
            default:
                throw new RingException(RingException.PROTOCOL);
        }
    }

    private void onWelcome(ByteBuffer k) throws RingException {
        int nextKind = k.get(), nextWait = k.get();
        k.getShort();
        String nextService = name(k);
        want(k, 0);
        kind = nextKind;
        wait = nextWait;
        service = nextService;
    }

    private void onLane(long id, ByteBuffer k) throws RingException {
        k.getLong(); // epoch: the memory says it, too
        boolean far = k.getLong() == FAR_LANE; // else the pair, of rpc
        int way = k.get();
        String other = name(k);
        if (way != 1 && way != 2 || lanes.size() >= LANES_MAX) {
            throw new RingException(RingException.PROTOCOL);
        }
        want(k, way == 1 ? 2 : 3);
        Lane l;
        if (way == 1) {
            l = new Lane(id, other, fds[0], -1, new Writer(fds[0], fds[1]), null);
            out = l.writer;
        } else {
            l = new Lane(id, other, fds[0], fds[1], null, new Reader(fds[0], fds[1], fds[2]));
        }
        Native.close(fds[fdCount - 1]); // the gate's mapping is enough
        fdCount = 0;
        l.far = far;
        lanes.add(l);
        say(begin(MAPPED, id));
    }

    /** Respects a reader, and says where it may begin: nothing is written over from here on before it says so. */
    private void onReader(long id, ByteBuffer k) throws RingException {
        long link = k.getLong();
        name(k);
        want(k, fdCount == 2 ? 2 : 1); // the cursor; the button of its doorbell, if it has one
        for (Lane l : lanes) {
            if (l.writer != null && l.link == link) {
                if (known(l.writer, fds[0], id)) {
                    // it keeps the button that it has
                } else if (fdCount == 2) {
                    l.writer.addWithDoorbell(fds[0], fds[1], id);
                } else {
                    l.writer.add(fds[0], id);
                }
                say(begin(ADDED, id).putLong(l.writer.position()));
                return;
            }
        }
        throw new RingException(RingException.PROTOCOL);
    }

    /** Whether the reader is one from before the direct node was replaced: it then has this link. */
    private static boolean known(Writer w, int cursorFd, long link) {
        long[] stat = Native.stat(cursorFd);
        for (int i = 0; i < w.readers && stat != null; i++) {
            Writer.Peer p = w.peers[i];
            if (p.device == stat[0] && p.inode == stat[1]) {
                p.link = link;
                return true;
            }
        }
        return false;
    }

    private void onStart(long id, ByteBuffer k) throws RingException {
        long position = k.getLong();
        want(k, 0);
        for (Lane l : lanes) {
            if (l.reader != null && l.link == id && !l.begun) {
                l.reader.start(position);
                l.begun = true;
                begunChanged();
                return;
            }
        }
        throw new RingException(RingException.PROTOCOL);
    }

    private void begunChanged() {
        in = lanes.stream().filter(l -> l.begun).toArray(Lane[]::new);
    }

    /** A writer forgets this reader; a lane that never began is dropped, one that has begun ends by its gate. */
    private void onGone(long id) {
        for (Lane l : List.copyOf(lanes)) {
            if (l.writer != null) {
                l.writer.remove(id);
            } else if (l.link == id && !l.begun) {
                lanes.remove(l);
                l.close();
            }
        }
    }

    /** Ends the end, and shuts what it holds: no gate will say it. */
    private void onRefused(ByteBuffer k) throws RingException {
        int why = k.getShort() & 0xffff;
        String words = text(k, k.getShort() & 0xffff, TEXT_MAX);
        want(k, 0);
        reason = why;
        text = words;
        refused = true;
        Native.close(sock);
        sock = -1;
        for (Lane l : lanes) {
            l.gate().shut(Layout.REVOKED, reason);
        }
    }

    /** Takes the new direct node's link and gate for a lane that went on without one. */
    private void onAdopted(long id, ByteBuffer k) throws RingException {
        long link = k.getLong();
        want(k, 1);
        for (Lane l : lanes) {
            if (l.link != id) {
                continue;
            }
            l.gate().open(fds[0], l.writer != null ? l.writer.ring.epoch : l.reader.ring.epoch);
            l.link = link;
            for (int i = 0; l.writer != null && i < l.writer.readers; i++) {
                l.writer.peers[i].link |= HELD_MARK;
            }
            return;
        }
    }

    /** Forgets the readers that were not named again. */
    private void onSettled(long id) {
        for (Lane l : lanes) {
            for (int i = l.writer != null && l.link == id ? l.writer.readers - 1 : -1; i >= 0; i--) {
                if ((l.writer.peers[i].link & HELD_MARK) != 0) {
                    l.writer.remove(l.writer.peers[i].link);
                }
            }
        }
    }

    // ---- what programs use

    /** The ring that a publisher writes. */
    public Writer writer() {
        return out;
    }

    /** The service that this end is. */
    public String serviceName() {
        return service;
    }

    /** Why the direct node has refused this end: a number of policy/reason, and its words. */
    public int reason() {
        return reason;
    }

    public String text() {
        return text;
    }

    /** Direct nodes that went away. */
    public int losses() {
        return losses;
    }

    /** How many readers the end's ring respects. */
    public int readers() {
        return out != null ? out.readers : 0;
    }

    /**
     * Hands over what all lanes have, most messages at most, fairly by lane, and returns their number. A lane that ends
     * is told and forgotten. REFUSED when the end is over and everything is read. It never waits.
     */
    public int poll(int most, Message.Each e) {
        Lane[] now = in;
        if (now.length == 0) {
            return refused ? RingException.REFUSED : 0;
        }
        int n = 0, share = Math.max(1, most / now.length);
        turn = turn + 1 & 0xffff;
        each = e;
        for (int i = 0; i < now.length && n < most; i++) {
            Lane l = now[(turn + i) % now.length];
            current = l;
            int got = l.reader.poll(Math.min(share, most - n), tell);
            if (got >= 0) {
                n += got;
            } else {
                end(l, got, e);
            }
        }
        return n;
    }

    private void end(Lane l, int code, Message.Each e) {
        ended.what = Message.END;
        ended.from = l;
        ended.error = code;
        ended.state = l.reader.state;
        ended.reason = l.reader.reason;
        ended.number = l.reader.next();
        e.found(ended);
        lanes.remove(l);
        l.close();
        begunChanged();
    }

    /** Serves the direct node and waits by the channel's strategy: one round. Without any lane it waits for one. */
    public void await() {
        service();
        if (in.length == 0) {
            if (sock >= 0) {
                Native.readable(sock, 100);
            } else if (!refused) {
                LockSupport.parkNanos(RETRY_NS);
            }
            return;
        }
        int spins = wait == SPIN ? 65536 : wait == SPIN_YIELD ? 256 : 4096, yields = wait == SPIN ? 0 : wait == SPIN_YIELD ? 1024 : 16;
        boolean sleeps = wait != SPIN && wait != SPIN_YIELD;
        if (in.length == 1) {
            in[0].reader.await(spins, yields, sleeps ? 8 : 0); // ms: a revocation is to be seen within 10
            return;
        }
        for (int i = 0; i < spins / in.length; i++) {
            for (Lane l : in) {
                if (l.reader.ready()) {
                    return;
                }
            }
        }
        if (sleeps) {
            in[0].reader.sleep(1); // a futex waits on one word: the other lanes are looked at soon
        }
    }

    /** Says goodbye, waits at most a second for the answer, and unmaps. */
    public void detach() {
        if (closed) {
            return;
        }
        closed = true;
        say(begin(DETACH, 0));
        for (long until = Ring.now() + GOODBYE_NS; sock >= 0 && Ring.now() < until; ) {
            try {
                if (Native.readable(sock, 10) && receive() == null) {
                    break;
                }
            } catch (RingException e) {
                closeFds();
                break;
            }
            closeFds();
        }
        Native.close(sock);
        sock = -1;
        lanes.forEach(Lane::close);
        lanes.clear();
        in = new Lane[0];
        out = null;
        MEMORY.freeMemory(room);
    }
}
