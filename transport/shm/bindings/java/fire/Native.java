package fire;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodType;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import jdk.incubator.foreign.CLinker;
import jdk.incubator.foreign.FunctionDescriptor;
import jdk.incubator.foreign.MemoryAddress;
import jdk.incubator.foreign.MemoryLayout;
import sun.misc.Unsafe;

/**
 * The system calls, by CLinker, and memory by address, by Unsafe. What is of JDK 17 alone is here: JDK 22 has another
 * java.lang.foreign, and needs this file anew.
 *
 * <p>A downcall leaves the thread in native state, so one that waits stops no collection.
 */
final class Native {
    private Native() {}

    static final Unsafe MEMORY = unsafe();

    private static final boolean ARM = System.getProperty("os.arch").equals("aarch64");
    private static final long SYS_FUTEX = ARM ? 98 : 202, SYS_MEMBARRIER = ARM ? 283 : 324;
    private static final int F_GET_SEALS = 1034, F_DUPFD_CLOEXEC = 1030, SOL_SOCKET = 1, O_RDWR = 2, O_CLOEXEC = 02000000;
    private static final int MAP_SHARED = 1, MAP_POPULATE = 0x8000, PROT_READ = 1, PROT_WRITE = 2;
    private static final int AF_UNIX = 1, SOCK_SEQPACKET = 5, SOCK_NONBLOCK = 04000, SOCK_CLOEXEC = 02000000;
    private static final int MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000, MSG_CMSG_CLOEXEC = 0x40000000;

    private static final MethodHandle OPEN = intOf("open", long.class, int.class, int.class);
    private static final MethodHandle CLOSE = intOf("close", int.class);
    private static final MethodHandle FCNTL = intOf("fcntl", int.class, int.class, int.class);
    private static final MethodHandle FSTAT = intOf("fstat", int.class, long.class);
    private static final MethodHandle MMAP = of("mmap", long.class, long.class, long.class, int.class, int.class, int.class, long.class);
    private static final MethodHandle MUNMAP = intOf("munmap", long.class, long.class);
    private static final MethodHandle SYSCALL = of("syscall", long.class, long.class, long.class, long.class, long.class, long.class, long.class, long.class);
    private static final MethodHandle SOCKET = intOf("socket", int.class, int.class, int.class);
    private static final MethodHandle CONNECT = intOf("connect", int.class, long.class, int.class);
    private static final MethodHandle SENDMSG = of("sendmsg", long.class, int.class, long.class, int.class);
    private static final MethodHandle RECVMSG = of("recvmsg", long.class, int.class, long.class, int.class);
    private static final MethodHandle GETSOCKOPT = intOf("getsockopt", int.class, int.class, int.class, long.class, long.class);
    private static final MethodHandle POLL = intOf("poll", long.class, long.class, int.class);

    private static Unsafe unsafe() {
        try {
            Field f = Unsafe.class.getDeclaredField("theUnsafe");
            f.setAccessible(true);
            return (Unsafe) f.get(null);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private static MethodHandle intOf(String name, Class<?>... arguments) {
        return of(name, int.class, arguments);
    }

    private static MethodHandle of(String name, Class<?> result, Class<?>... arguments) {
        MemoryLayout[] layouts = new MemoryLayout[arguments.length];
        for (int i = 0; i < layouts.length; i++) {
            layouts[i] = arguments[i] == int.class ? CLinker.C_INT : CLinker.C_LONG;
        }
        MemoryAddress at = CLinker.systemLookup().lookup(name).orElseThrow();
        return CLinker.getInstance().downcallHandle(at, MethodType.methodType(result, arguments),
            FunctionDescriptor.of(result == int.class ? CLinker.C_INT : CLinker.C_LONG, layouts));
    }

    private static Error wrong(Throwable t) {
        return t instanceof Error ? (Error) t : new AssertionError(t); // a downcall throws nothing of its own
    }

    static int open(String path) {
        byte[] b = (path + "\0").getBytes(StandardCharsets.UTF_8);
        long at = MEMORY.allocateMemory(b.length);
        try {
            MEMORY.copyMemory(b, Unsafe.ARRAY_BYTE_BASE_OFFSET, null, at, b.length);
            return (int) OPEN.invokeExact(at, O_RDWR | O_CLOEXEC, 0);
        } catch (Throwable t) {
            throw wrong(t);
        } finally {
            MEMORY.freeMemory(at);
        }
    }

    static void close(int fd) {
        try {
            int ignored = fd >= 0 ? (int) CLOSE.invokeExact(fd) : 0;
        } catch (Throwable t) {
            throw wrong(t);
        }
    }

    /** Whether nobody can shrink the memory (SIGBUS) or come to write it any more. */
    static boolean sealed(int fd) {
        try {
            int seals = (int) FCNTL.invokeExact(fd, F_GET_SEALS, 0);
            return seals >= 0 && (seals & Layout.SEALS) == Layout.SEALS;
        } catch (Throwable t) {
            throw wrong(t);
        }
    }

    /** Device, inode and size of a file; null when it is none. */
    static long[] stat(int fd) {
        long at = MEMORY.allocateMemory(256);
        try {
            if ((int) FSTAT.invokeExact(fd, at) != 0) {
                return null;
            }
            return new long[] {MEMORY.getLong(at), MEMORY.getLong(at + 8), MEMORY.getLong(at + 48)}; // there on both machines
        } catch (Throwable t) {
            throw wrong(t);
        } finally {
            MEMORY.freeMemory(at);
        }
    }

    /** Maps all of a memory; 0 when the kernel refuses. */
    static long map(int fd, long bytes, boolean writable) {
        try {
            long at = (long) MMAP.invokeExact(0L, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0L);
            return at == -1 ? 0 : at;
        } catch (Throwable t) {
            throw wrong(t);
        }
    }

    static void unmap(long at, long bytes) {
        try {
            int ignored = at != 0 ? (int) MUNMAP.invokeExact(at, bytes) : 0;
        } catch (Throwable t) {
            throw wrong(t);
        }
    }

    private static long syscall(long n, long a, long b, long c, long d) {
        try {
            return (long) SYSCALL.invokeExact(n, a, b, c, d, 0L, 0L);
        } catch (Throwable t) {
            throw wrong(t);
        }
    }

    static void futexWait(long word, int expected, int ms) {
        long limit = MEMORY.allocateMemory(16);
        MEMORY.putLong(limit, ms / 1000);
        MEMORY.putLong(limit + 8, ms % 1000 * 1_000_000L);
        syscall(SYS_FUTEX, word, 0, Integer.toUnsignedLong(expected), limit);
        MEMORY.freeMemory(limit);
    }

    static void futexWake(long word) {
        syscall(SYS_FUTEX, word, 1, 1 << 30, 0);
    }

    /** Lets other processes' fenceAll reach this one. */
    static void expectFences() {
        syscall(SYS_MEMBARRIER, 1 << 2, 0, 0, 0);
    }

    /** A full fence on every core that runs a process which expects it. */
    static boolean fenceAll() {
        return syscall(SYS_MEMBARRIER, 1 << 1, 0, 0, 0) == 0;
    }

    /** A SOCK_SEQPACKET socket that does not wait, connected to path; -1 when nobody answers. */
    static int connect(byte[] path) {
        final int bytes = 110; // of struct sockaddr_un
        long at = MEMORY.allocateMemory(bytes);
        try {
            int s = (int) SOCKET.invokeExact(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            if (s < 0) {
                return -1;
            }
            MEMORY.setMemory(at, bytes, (byte) 0);
            MEMORY.putShort(at, (short) AF_UNIX);
            MEMORY.copyMemory(path, Unsafe.ARRAY_BYTE_BASE_OFFSET, null, at + 2, path.length);
            if ((int) CONNECT.invokeExact(s, at, bytes) == 0) {
                return s;
            }
            close(s);
            return -1;
        } catch (Throwable t) {
            throw wrong(t);
        } finally {
            MEMORY.freeMemory(at);
        }
    }

    static long sendmsg(int s, long header) {
        try {
            return (long) SENDMSG.invokeExact(s, header, MSG_DONTWAIT | MSG_NOSIGNAL);
        } catch (Throwable t) {
            throw wrong(t);
        }
    }

    /** A copy of the button of a doorbell, which is a unix datagram socket: nothing else can be rung without ever waiting. */
    static int button(int fd) throws RingException {
        final int domain = 39, type = 3, datagram = 2; // SO_DOMAIN, SO_TYPE, SOCK_DGRAM
        if (option(fd, domain) != AF_UNIX || option(fd, type) != datagram) {
            throw new RingException(RingException.NO_DOORBELL);
        }
        try {
            int copy = (int) FCNTL.invokeExact(fd, F_DUPFD_CLOEXEC, 0);
            if (copy < 0) {
                throw new RingException(RingException.SYSTEM);
            }
            return copy;
        } catch (RingException e) {
            throw e;
        } catch (Throwable t) {
            throw wrong(t);
        }
    }

    private static int option(int fd, int name) {
        long at = MEMORY.allocateMemory(8);
        try {
            MEMORY.putInt(at, -1);
            MEMORY.putInt(at + 4, 4);
            return (int) GETSOCKOPT.invokeExact(fd, SOL_SOCKET, name, at, at + 4) == 0 ? MEMORY.getInt(at) : -1;
        } catch (Throwable t) {
            throw wrong(t);
        } finally {
            MEMORY.freeMemory(at);
        }
    }

    private static final long ONE_BYTE = oneByte();

    /** The header of a message of one byte, which nobody changes. */
    private static long oneByte() {
        long at = MEMORY.allocateMemory(56 + 16 + 8);
        MEMORY.setMemory(at, 56 + 16 + 8, (byte) 0);
        MEMORY.putLong(at + 16, at + 56); // one part
        MEMORY.putLong(at + 24, 1);
        MEMORY.putLong(at + 56, at + 72);
        MEMORY.putLong(at + 64, 1);
        return at;
    }

    /** Rings a doorbell, and never waits: a full socket is readable already. */
    static void ring(int button) {
        sendmsg(button, ONE_BYTE);
    }

    static long recvmsg(int s, long header) {
        try {
            return (long) RECVMSG.invokeExact(s, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        } catch (Throwable t) {
            throw wrong(t);
        }
    }

    /** Whether something can be read, waiting for it. */
    static boolean readable(int s, int ms) {
        long at = MEMORY.allocateMemory(8);
        try {
            MEMORY.putInt(at, s);
            MEMORY.putInt(at + 4, 1); // POLLIN
            return (int) POLL.invokeExact(at, 1L, ms) > 0;
        } catch (Throwable t) {
            throw wrong(t);
        } finally {
            MEMORY.freeMemory(at);
        }
    }
}
