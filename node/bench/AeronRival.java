// The rival of `fire bench ring --aeron-jar`: Aeron IPC between two processes, measured as
// fire's rings are. It speaks the protocol of rival_linux.go on its standard input and output.
//
//   publisher (this process, media driver embedded)        subscriber (a child)
//   ExclusivePublication.tryClaim ══════ stream 1 ═══════► Subscription.poll
//   Subscription.poll             ◄═════ stream 2 ════════ ExclusivePublication.offer
//
// A message's first 8 bytes are the time at which it was due, or at which its row began, the
// next 8 say what it is. The subscriber polls from "go" to STOP and blocks in between, so that it disturbs nobody whose
// turn it is.

import io.aeron.Aeron;
import io.aeron.ExclusivePublication;
import io.aeron.Publication;
import io.aeron.Subscription;
import io.aeron.driver.MediaDriver;
import io.aeron.driver.ThreadingMode;
import io.aeron.logbuffer.BufferClaim;
import io.aeron.logbuffer.FragmentHandler;
import io.aeron.logbuffer.Header;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.agrona.DirectBuffer;
import org.agrona.concurrent.AgentInvoker;
import org.agrona.concurrent.BackoffIdleStrategy;
import org.agrona.concurrent.BusySpinIdleStrategy;
import org.agrona.concurrent.UnsafeBuffer;

final class AeronRival {
    static final int THERE = 1, BACK = 2;
    static final long ECHO = 1, TAKE = 2, TIMED = 3, STOP = 4;
    static final long WARM_NS = 150_000_000;
    static final long PATIENCE_NS = 600_000_000_000L; // nothing drives while others have their turn
    static final long SILENCE_NS = 5_000_000_000L; // a subscriber without a publisher ends
    static final int TERM = 64 << 20; // Aeron's default, and faster than any smaller one
    static final String ANSWERS = "aeron:ipc?term-length=1m"; // one is on its way at most

    public static void main(String[] args) throws Exception {
        if (args.length == 2 && args[0].equals("subscriber")) {
            subscriber(args[1]);
        } else {
            publisher(Path.of(args[0]));
        }
    }

    static Aeron connect(String dir) {
        return Aeron.connect(new Aeron.Context().aeronDirectoryName(dir).preTouchMappedMemory(true).driverTimeoutMs(PATIENCE_NS / 1_000_000)
            .idleStrategy(new BackoffIdleStrategy(1, 1, 1_000_000, 16_000_000)));
    }

    static void publisher(Path dir) throws Exception {
        // A driver thread that spins needs a core of its own. With four or fewer it would take
        // one of the two that are measured, and one that parks is too slow to make room: there
        // the publisher does the driver's work itself, as Aeron's INVOKER mode is made for.
        boolean spare = Runtime.getRuntime().availableProcessors() > 4;
        MediaDriver.Context context = new MediaDriver.Context().aeronDirectoryName(dir.resolve("driver").toString())
            .threadingMode(spare ? ThreadingMode.SHARED : ThreadingMode.INVOKER).sharedIdleStrategy(BusySpinIdleStrategy.INSTANCE)
            .clientLivenessTimeoutNs(PATIENCE_NS)
            .publicationUnblockTimeoutNs(2 * PATIENCE_NS).termBufferSparseFile(false).ipcTermBufferLength(TERM)
            .performStorageChecks(false).dirDeleteOnShutdown(true);
        try (MediaDriver driver = MediaDriver.launch(context);
            Drive drive = new Drive(driver.sharedAgentInvoker());
            Aeron aeron = connect(context.aeronDirectoryName());
            ExclusivePublication there = aeron.addExclusivePublication("aeron:ipc", THERE);
            Subscription back = aeron.addSubscription(ANSWERS, BACK)) {
            Process child = start(context.aeronDirectoryName());
            try (BufferedReader said = new BufferedReader(new InputStreamReader(child.getInputStream()))) {
                String reader = said.readLine();
                while (!there.isConnected() || !back.isConnected()) {
                    Thread.onSpinWait();
                }
                drive.pause();
                AeronRival rival = new AeronRival(drive.invoker, there, back, said, new PrintStream(child.getOutputStream(), true));
                System.out.printf("{\"version\":\"%s\",\"settings\":\"%s\",\"threads\":[%s,%s],\"rows\":[" +
                    "\"ping_pong 48\",\"ping_pong 64\",\"ping_pong 1024\",\"fixed_rate 48\",\"fixed_rate 64\",\"fixed_rate 1024\"," +
                    "\"throughput 32\",\"throughput 64\",\"throughput 1024\"]}%n",
                    MediaDriver.class.getPackage().getImplementationVersion(),
                    String.format("Java %s, two processes, exclusive publication, tryClaim, terms of %d MiB, %s",
                        Runtime.version().feature(), TERM >> 20, spare ? "a driver thread that spins" : "driver invoked by the publisher"),
                    thread(), reader);
                rival.obey();
            } finally {
                drive.resume();
                child.getOutputStream().close(); // which ends it
                if (!child.waitFor(5, TimeUnit.SECONDS)) {
                    child.destroyForcibly().waitFor();
                }
            }
        }
    }

    /** Does an invoked driver's work while nothing is measured: joining and leaving need it. */
    static final class Drive implements AutoCloseable {
        final AgentInvoker invoker; // null: the driver has a thread of its own
        private Thread thread;
        private volatile boolean going;

        Drive(AgentInvoker invoker) {
            this.invoker = invoker;
            resume();
        }

        void resume() {
            if (invoker == null || going) {
                return;
            }
            going = true;
            thread = new Thread(() -> {
                while (going) {
                    invoker.invoke();
                    Thread.yield();
                }
            });
            thread.start();
        }

        void pause() throws InterruptedException {
            if (going) {
                going = false;
                thread.join();
            }
        }

        public void close() throws InterruptedException {
            pause();
        }
    }

    static Process start(String dir) throws IOException {
        List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString()));
        command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), "AeronRival", "subscriber", dir));
        return new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    }

    /** The kernel's number of this thread, for whoever pins it. */
    static String thread() throws IOException {
        return Files.readSymbolicLink(Path.of("/proc/thread-self")).getFileName().toString();
    }

    // The publisher's side.

    final AgentInvoker invoker;
    final ExclusivePublication there;
    final Subscription back;
    final BufferedReader said;
    final PrintStream child;
    final BufferClaim claim = new BufferClaim();
    final UnsafeBuffer message = new UnsafeBuffer(new byte[64 << 10]);
    final Histogram hist = new Histogram();
    boolean answered;
    final FragmentHandler answer = (buffer, offset, length, header) -> answered = true;

    AeronRival(AgentInvoker invoker, ExclusivePublication there, Subscription back, BufferedReader said, PrintStream child) {
        this.invoker = invoker;
        this.there = there;
        this.back = back;
        this.said = said;
        this.child = child;
    }

    void warm() throws IOException {
        for (int i = 0; i < 3; i++) {
            measure("ping_pong", 48, WARM_NS, 0);
            measure("fixed_rate", 64, WARM_NS, 100_000);
            for (int size : new int[] {32, 64, 1024}) {
                measure("throughput", size, WARM_NS, 0);
            }
        }
    }

    void obey() throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) { // table size nanoseconds rate
            String[] word = line.split(" ");
            if (word[0].equals("warm_up")) {
                warm();
            }
            System.out.println(measure(word[0], Integer.parseInt(word[1]), Long.parseLong(word[2]), Long.parseLong(word[3])));
        }
    }

    /** One row. What the subscriber has counted is the answer, but for a round trip. */
    String measure(String table, int size, long ns, long rate) throws IOException {
        hist.clear();
        child.println("go");
        long end = System.nanoTime() + ns;
        long sent;
        switch (table) {
            case "ping_pong":
                sent = pingPong(size, end);
                break;
            case "fixed_rate":
                sent = fixedRate(size, end, rate);
                break;
            case "throughput":
                sent = throughput(size, end);
                break;
            default:
                sent = 0;
        }
        message.putLong(8, STOP);
        send(16);
        String answer = said.readLine();
        if (answer == null || !answer.startsWith("{\"messages\":" + sent + ",")) {
            throw new IOException("of " + sent + " messages the subscriber says " + answer);
        }
        return table.equals("ping_pong") ? hist.json(sent, ns) : answer;
    }

    void send(int size) throws IOException {
        for (long result; (result = there.tryClaim(size, claim)) < 0; ) {
            makeRoom(result);
        }
        claim.buffer().putBytes(claim.offset(), message, 0, size);
        claim.commit();
    }

    /** After a claim that failed: room is the driver's to give. */
    void makeRoom(long result) throws IOException {
        if (result != Publication.BACK_PRESSURED && result != Publication.ADMIN_ACTION) {
            throw new IOException("the publication answers " + result);
        }
        if (invoker != null) {
            invoker.invoke();
        }
    }

    long pingPong(int size, long end) throws IOException {
        message.putLong(8, ECHO);
        long n = 0;
        for (long t0 = System.nanoTime(); t0 < end; n++) {
            send(size);
            for (answered = false; !answered; ) {
                back.poll(answer, 1);
            }
            long t1 = System.nanoTime();
            if (n > 1000) {
                hist.record((t1 - t0) / 2);
            }
            if (invoker != null && n % 256 == 0) {
                invoker.invoke();
                t1 = System.nanoTime();
            }
            t0 = t1;
        }
        return n;
    }

    long fixedRate(int size, long end, long rate) throws IOException {
        message.putLong(8, TIMED);
        long n = 0;
        long step = 1_000_000_000 / rate;
        for (long due = System.nanoTime() + step; due < end; due += step, n++) {
            while (System.nanoTime() < due) {
            }
            message.putLong(0, due);
            send(size);
        }
        return n;
    }

    long throughput(int size, long end) throws IOException {
        message.putLong(0, System.nanoTime());
        message.putLong(8, TAKE);
        long n = 0;
        while (System.nanoTime() < end) {
            for (int i = 0; i < 256; i++) {
                long result = there.tryClaim(size, claim);
                if (result > 0) {
                    claim.buffer().putBytes(claim.offset(), message, 0, size);
                    claim.commit();
                    n++;
                } else {
                    makeRoom(result);
                }
            }
        }
        return n;
    }

    // The subscriber's side.

    static void subscriber(String dir) throws Exception {
        try (Aeron aeron = connect(dir);
            Subscription there = aeron.addSubscription("aeron:ipc", THERE);
            ExclusivePublication back = aeron.addExclusivePublication(ANSWERS, BACK)) {
            System.out.println(thread());
            BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
            Taken taken = new Taken(back);
            while (in.readLine() != null) {
                serve(there, taken);
                System.out.println(taken.hist.json(taken.messages, taken.last - taken.first));
            }
        }
    }

    static void serve(Subscription there, Taken taken) throws IOException {
        taken.clear();
        long seen = 0;
        long end = System.nanoTime() + SILENCE_NS;
        for (int idle = 0; !taken.stopped; idle++) {
            if (there.poll(taken, 256) > 0) {
                idle = 0;
            } else if (idle == 1 << 20) {
                if (taken.messages != seen) {
                    seen = taken.messages;
                    end = System.nanoTime() + SILENCE_NS;
                } else if (System.nanoTime() > end) {
                    throw new IOException("nobody publishes");
                }
                idle = 0;
            }
        }
    }

    static final class Taken implements FragmentHandler {
        final ExclusivePublication back;
        final Histogram hist = new Histogram();
        long messages, first, last, sum;
        boolean stopped;

        Taken(ExclusivePublication back) {
            this.back = back;
        }

        void clear() {
            hist.clear();
            messages = first = last = 0;
            stopped = false;
        }

        public void onFragment(DirectBuffer buffer, int offset, int length, Header header) {
            long kind = buffer.getLong(offset + 8);
            if (kind == STOP) {
                last = System.nanoTime();
                stopped = true;
                return;
            }
            long time = buffer.getLong(offset);
            if (messages++ == 0) {
                first = time; // of the publisher's clock, which is this one's
            }
            sum += time;
            if (kind == ECHO) {
                while (back.offer(buffer, offset, length) < 0) {
                }
            } else if (kind == TIMED) {
                hist.record(System.nanoTime() - time);
            }
        }
    }

    /** Exact below 4,096 ns, then 128 buckets for each doubling, as fire's. */
    static final class Histogram {
        final long[] bucket = new long[4096 + 128 * 24];

        void clear() {
            java.util.Arrays.fill(bucket, 0);
        }

        void record(long v) {
            if (v < 4096) {
                bucket[(int)Math.max(v, 0)]++;
                return;
            }
            int top = 63 - Long.numberOfLeadingZeros(v);
            bucket[Math.min(4096 + 128 * (top - 12) + (int)(v >> (top - 7) & 127), bucket.length - 1)]++;
        }

        static long upper(int i) {
            if (i < 4096) {
                return i;
            }
            int top = (i - 4096) / 128 + 12;
            return (1L << top) + ((long)((i - 4096) % 128 + 1) << (top - 7)) - 1;
        }

        String json(long messages, long took) {
            StringBuilder b = new StringBuilder().append("{\"messages\":").append(messages).append(",\"took_ns\":").append(took).append(",\"latency_ns\":{");
            String comma = "";
            for (int i = 0; i < bucket.length; i++) {
                if (bucket[i] > 0) {
                    b.append(comma).append('"').append(upper(i)).append("\":").append(bucket[i]);
                    comma = ",";
                }
            }
            return b.append("}}").toString();
        }
    }
}
