/* fire_ring.h - attach to a channel of fire and talk through shared memory.
 *
 *   program                             direct node of the host
 *    fire_ring_attach ── unix socket ──► who are you? may you?
 *    fire_ring_service ◄── lanes, readers (now and then, in your own loop)
 *    fire_ring_offer ═══ shared memory ═══ fire_ring_poll      (nobody in between)
 *
 * One C11 header for Linux on amd64 and arm64, with nothing but libc. It allocates nothing
 * (all state lies in structs of yours), starts no thread, installs no signal handler and
 * waits only in the functions that say so.
 *
 * Two layers. fire_ring_*: an end that is attached to a channel, with its lanes. fire_writer_*
 * and fire_reader_*: one ring, of whose memories you have the descriptors.
 *
 * An end, a writer or a reader belongs to one thread, and its struct must not be moved while
 * it is open. Functions return 0 or a count, or one of the negative codes below, for which
 * fire_ring_error has words. Names that end in _ are not for callers.
 *
 * The layout's and the attach protocol's specifications are the package comments of fire's
 * transport/shm and transport/channel; what follows implements them and no more.
 *
 * No number from memory that another process can write is used twice: it is read once into
 * a local, checked, used.
 *
 * To get the functions as symbols of a shared object, define FIRE_RING_API empty before the
 * include, in one file (see fire_ring.c).
 */
#ifndef FIRE_RING_H
#define FIRE_RING_H

#ifndef _GNU_SOURCE
#ifdef _FEATURES_H
#error "define _GNU_SOURCE before the first #include, or include fire_ring.h first"
#endif
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__)) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "fire_ring.h knows Linux on amd64 and arm64"
#endif

#ifndef FIRE_RING_API
#define FIRE_RING_API static inline
#endif

/* ---- the layout's numbers; a test of transport/shm compares them with Go's ---- */

#define FIRE_LAYOUT_VERSION 1
#define FIRE_LAYOUT_HASH 0x47dce5d1ebb7faa4

#define FIRE_LINE_BYTES 64
#define FIRE_HEADER_BYTES 16 /* of a message */
#define FIRE_LINES_MIN 64
#define FIRE_LINES_MAX 67108864
#define FIRE_MESSAGE_MAX 65536 /* bytes of a message */
#define FIRE_NAME_MAX 63
#define FIRE_DATA_HEAD_BYTES 4096
#define FIRE_CURSOR_BYTES 4096
#define FIRE_GATE_BYTES 4096
#define FIRE_READERS_MAX 32
#define FIRE_SAMPLE_EVERY 1024 /* messages share one look at the clock, at most */

#define FIRE_MAGIC_DATA 0x474e495245524946   /* "FIRERING" */
#define FIRE_MAGIC_CURSOR 0x5352554345524946 /* "FIRECURS" */
#define FIRE_MAGIC_GATE 0x4554414745524946   /* "FIREGATE" */

/* data */
#define FIRE_OFF_MAGIC 0
#define FIRE_OFF_VERSION 8
#define FIRE_OFF_DISCIPLINE 12
#define FIRE_OFF_HASH 16
#define FIRE_OFF_LINES 24
#define FIRE_OFF_KEY 32
#define FIRE_OFF_EPOCH 40
#define FIRE_OFF_CREATED 48
#define FIRE_OFF_NAME_LEN 56
#define FIRE_OFF_NAME 64
#define FIRE_OFF_MARK 128
#define FIRE_OFF_MARKS 136
#define FIRE_OFF_INTENT 256
#define FIRE_OFF_BELL 384
#define FIRE_OFF_SAMPLED 512
#define FIRE_OFF_SAMPLED_AT 520
#define FIRE_OFF_WRITTEN 640 /* counters: messages, bytes, full, bells, padding, position */

/* message */
#define FIRE_OFF_LENGTH 8
#define FIRE_OFF_PAYLOAD 16
#define FIRE_FLAG_PAD 1
#define FIRE_FLAG_SAMPLE 2

/* cursor */
#define FIRE_OFF_POSITION 128
#define FIRE_OFF_ASLEEP 256
#define FIRE_OFF_READ 384 /* counters: messages, bytes, laps, lost, waits */
#define FIRE_OFF_LATENCY 512

/* gate */
#define FIRE_OFF_STATE 128
#define FIRE_OFF_REASON 132

/* discipline */
#define FIRE_LANE 1      /* the writer is told that there is no room */
#define FIRE_BROADCAST 2 /* the writer goes on, readers are told what they lost */

/* state of a gate */
#define FIRE_OPEN 1
#define FIRE_REVOKED 2
#define FIRE_CLOSED 3
#define FIRE_ORPHANED 4 /* the writer has died */

#define FIRE_SEALS 0x17 /* F_SEAL_SEAL, SHRINK, GROW and FUTURE_WRITE */

/* ---- the attach protocol's numbers ---- */

#define FIRE_PROTOCOL_VERSION 1
#define FIRE_PACKET_MAX 1024
#define FIRE_FDS_MAX 4
#define FIRE_TEXT_MAX 512
#define FIRE_TYPE_ATTACH 1
#define FIRE_TYPE_HELD 2
#define FIRE_TYPE_MAPPED 3
#define FIRE_TYPE_ADDED 4
#define FIRE_TYPE_DETACH 5
#define FIRE_TYPE_WELCOME 16
#define FIRE_TYPE_LANE 17
#define FIRE_TYPE_READER 18
#define FIRE_TYPE_START 19
#define FIRE_TYPE_GONE 20
#define FIRE_TYPE_REFUSED 21
#define FIRE_TYPE_ADOPTED 22
#define FIRE_TYPE_SETTLED 23

/* side of an end */
#define FIRE_PUBLISH 1 /* of rpc: call */
#define FIRE_SUBSCRIBE 2 /* of rpc: serve */

/* kind of a channel */
#define FIRE_KIND_ORDERS 1
#define FIRE_KIND_BROADCAST 2
#define FIRE_KIND_RPC 3

/* of a lane whose publisher is on another host: its pair, and the type of a message of its
 * direct node that says what was lost on the way (first u64, last u64) */
#define FIRE_FAR_LANE UINT64_MAX
#define FIRE_TYPE_LOST 0xffff

/* way of a lane */
#define FIRE_WRITES 1
#define FIRE_READS 2

/* wait strategy of a channel */
#define FIRE_WAIT_SPIN 1
#define FIRE_WAIT_SPIN_YIELD 2
#define FIRE_WAIT_ADAPTIVE 3
#define FIRE_WAIT_POLL 4 /* in a poll loop, by a doorbell: an end of this header gives none, and waits as adaptive */

/* ---- what functions return ---- */

enum {
	FIRE_OK = 0,
	FIRE_SENT = 0,
	FIRE_FULL = -1,
	FIRE_TOO_LONG = -2,
	FIRE_SHUT = -3,
	FIRE_CORRUPT = -4,
	FIRE_SYSTEM = -5,
	FIRE_UNSEALED = -6,
	FIRE_SIZE = -7,
	FIRE_FOREIGN = -8,
	FIRE_VERSION = -9,
	FIRE_LAYOUT = -10,
	FIRE_HEAD = -11,
	FIRE_EPOCH = -12,
	FIRE_USED = -13,
	FIRE_BUSY = -14,
	FIRE_UNREACHABLE = -15,
	FIRE_REFUSED = -16,
	FIRE_PROTOCOL = -17,
	FIRE_INVALID = -18,
	FIRE_NOT_YET = -19,
	FIRE_NO_DOORBELL = -20
};

FIRE_RING_API const char *fire_ring_error(int code)
{
	static const char *const words[] = {
		"no error",
		"a reader of the lane is that far behind: nothing was written",
		"the message is longer than 65536 bytes or than a quarter of the ring",
		"the channel is shut",
		"the ring holds what no writer of this layout writes",
		"a system call failed, see errno",
		"the memory is not sealed: its owner could still shrink or rewrite it",
		"the memory has a size that no such memory has",
		"this is no such memory: it begins with another word",
		"the memory has another layout version: update the older side",
		"the memory has another layout hash: one side was built from a changed layout",
		"the head of the ring makes no sense",
		"the memories are of different epochs",
		"the ring has had a writer; a new one needs a new ring",
		"no place for one more reader or lane",
		"no direct node answers at the socket; is `fire run --role direct` running on this host?",
		"the direct node has refused this end",
		"the direct node does not speak this attach protocol",
		"an argument makes no sense",
		"the direct node has given no ring yet",
		"this is no doorbell, which is a unix datagram socket",
	};
	int n = (int)(sizeof words / sizeof *words);
	return code <= 0 && code > -n ? words[-code] : "unknown";
}

/* ---- memory ---- */

static inline uint64_t fire_load_(const unsigned char *p)
{
	return atomic_load_explicit((const _Atomic uint64_t *)(const void *)p, memory_order_acquire);
}

static inline uint32_t fire_load_half_(const unsigned char *p)
{
	return atomic_load_explicit((const _Atomic uint32_t *)(const void *)p, memory_order_acquire);
}

static inline void fire_store_(unsigned char *p, uint64_t v)
{
	atomic_store_explicit((_Atomic uint64_t *)(void *)p, v, memory_order_release);
}

/* For numbers that nobody decides by. */
static inline void fire_count_(unsigned char *p, uint64_t v)
{
	atomic_store_explicit((_Atomic uint64_t *)(void *)p, v, memory_order_relaxed);
}

static inline void fire_count_more_(unsigned char *p, uint64_t n)
{
	fire_count_(p, atomic_load_explicit((_Atomic uint64_t *)(void *)p, memory_order_relaxed) + n);
}

static inline int fire_valid_lines_(uint64_t n)
{
	return n >= FIRE_LINES_MIN && n <= FIRE_LINES_MAX && (n & (n - 1)) == 0;
}

struct fire_memory {
	unsigned char *at; /* NULL: not mapped */
	size_t bytes;
};

/* fire_map_ maps all of fd. exact is its size; 0 is that of a ring. */
static inline int fire_map_(struct fire_memory *m, int fd, int writable, size_t exact)
{
	struct stat st;
	m->at = NULL;
	m->bytes = 0;
	if (fstat(fd, &st) != 0)
		return FIRE_SYSTEM;
	if (st.st_size <= 0)
		return FIRE_SIZE;
	uint64_t size = (uint64_t)st.st_size;
	if (exact != 0 ? size != exact
	               : size <= FIRE_DATA_HEAD_BYTES || (size - FIRE_DATA_HEAD_BYTES) % FIRE_LINE_BYTES != 0 ||
	                     !fire_valid_lines_((size - FIRE_DATA_HEAD_BYTES) / FIRE_LINE_BYTES))
		return FIRE_SIZE;
	void *at = mmap(NULL, (size_t)size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (at == MAP_FAILED)
		return FIRE_SYSTEM;
	m->at = at;
	m->bytes = (size_t)size;
	return FIRE_OK;
}

static inline void fire_unmap_(struct fire_memory *m)
{
	if (m->at != NULL)
		munmap(m->at, m->bytes);
	m->at = NULL;
}

/* fire_sealed_ refuses memory that its owner could still shrink under a reader (SIGBUS) or
 * that somebody else could still come to write. */
static inline int fire_sealed_(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	return seals >= 0 && (seals & FIRE_SEALS) == FIRE_SEALS ? FIRE_OK : FIRE_UNSEALED;
}

static inline int fire_check_head_(const unsigned char *at, uint64_t magic)
{
	if (fire_load_(at + FIRE_OFF_MAGIC) != magic)
		return FIRE_FOREIGN;
	if (fire_load_half_(at + FIRE_OFF_VERSION) != FIRE_LAYOUT_VERSION)
		return FIRE_VERSION;
	return fire_load_(at + FIRE_OFF_HASH) == FIRE_LAYOUT_HASH ? FIRE_OK : FIRE_LAYOUT;
}

/* fire_page_ maps memory of one page, with that head and epoch. */
static inline int fire_page_(struct fire_memory *m, int fd, int writable, uint64_t magic, uint64_t epoch)
{
	int err = fire_map_(m, fd, writable, FIRE_CURSOR_BYTES);
	if (err != FIRE_OK)
		return err;
	err = fire_check_head_(m->at, magic);
	if (err == FIRE_OK && fire_load_(m->at + FIRE_OFF_EPOCH) != epoch)
		err = FIRE_EPOCH;
	if (err != FIRE_OK)
		fire_unmap_(m);
	return err;
}

/* ---- system ---- */

static inline void fire_futex_wait_(unsigned char *word, uint32_t expected, int ms)
{
	struct timespec limit = {ms / 1000, ms % 1000 * 1000000L};
	syscall(SYS_futex, word, 0 /* FUTEX_WAIT, shared */, expected, &limit, NULL, 0);
}

static inline void fire_futex_wake_(unsigned char *word)
{
	syscall(SYS_futex, word, 1 /* FUTEX_WAKE, shared */, 1 << 30, NULL, NULL, 0);
}

/* fire_expect_fences_ lets other processes' fire_fence_all_ reach this one. */
static inline void fire_expect_fences_(void)
{
	syscall(SYS_membarrier, 1 << 2 /* REGISTER_GLOBAL_EXPEDITED */, 0, 0);
}

/* fire_fence_all_ is a full fence on every core that runs a process which expects it. */
static inline int fire_fence_all_(void)
{
	return syscall(SYS_membarrier, 1 << 1 /* GLOBAL_EXPEDITED */, 0, 0) == 0;
}

/* fire_now_ is CLOCK_MONOTONIC in ns, which all processes of a host share. */
static inline uint64_t fire_now_(void)
{
	struct timespec t;
	return clock_gettime(CLOCK_MONOTONIC, &t) == 0 ? (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec : 0;
}

/* ---- gate: what the direct node says of a lane ---- */

struct fire_gate {
	struct fire_memory memory;
	const unsigned char *state; /* of the gate that counts; its reason lies behind it */
	uint32_t own[2];            /* this side's own word, when there is no direct node to say it */
};

/* fire_gate_open_ maps a gate and makes it the one that counts; the one before is unmapped. */
static inline int fire_gate_open_(struct fire_gate *g, int fd, uint64_t epoch)
{
	struct fire_memory m;
	int err = fire_sealed_(fd);
	if (err == FIRE_OK)
		err = fire_page_(&m, fd, 0, FIRE_MAGIC_GATE, epoch);
	if (err != FIRE_OK)
		return err;
	fire_unmap_(&g->memory);
	g->memory = m;
	g->state = m.at + FIRE_OFF_STATE;
	return FIRE_OK;
}

static inline uint32_t fire_gate_state_(const struct fire_gate *g) { return fire_load_half_(g->state); }

static inline uint32_t fire_gate_reason_(const struct fire_gate *g)
{
	return fire_load_half_(g->state + (FIRE_OFF_REASON - FIRE_OFF_STATE));
}

static inline void fire_gate_shut_(struct fire_gate *g, uint32_t state, uint32_t reason)
{
	g->own[0] = state;
	g->own[1] = reason;
	g->state = (const unsigned char *)g->own;
}

/* ---- ring: what both ends know of it ---- */

struct fire_ring {
	struct fire_memory memory;
	unsigned char *lines; /* the first */
	uint64_t size;        /* lines */
	uint64_t mask;
	uint64_t key1; /* key + 1: what position 0 is published with */
	uint64_t epoch;
	uint64_t created; /* ns since 1970 */
	uint32_t discipline;
	char name[FIRE_NAME_MAX + 1];
};

/* fire_ring_read_ reads the head once and checks it against the size of the memory. */
static inline int fire_ring_read_(struct fire_ring *r)
{
	const unsigned char *at = r->memory.at;
	int err = fire_check_head_(at, FIRE_MAGIC_DATA);
	if (err != FIRE_OK)
		return err;
	uint32_t name = fire_load_half_(at + FIRE_OFF_NAME_LEN);
	r->discipline = fire_load_half_(at + FIRE_OFF_DISCIPLINE);
	if (fire_load_(at + FIRE_OFF_LINES) != r->size || name == 0 || name > FIRE_NAME_MAX ||
	    (r->discipline != FIRE_LANE && r->discipline != FIRE_BROADCAST))
		return FIRE_HEAD;
	memset(r->name, 0, sizeof r->name);
	memcpy(r->name, at + FIRE_OFF_NAME, name);
	r->epoch = fire_load_(at + FIRE_OFF_EPOCH);
	r->created = fire_load_(at + FIRE_OFF_CREATED);
	r->key1 = fire_load_(at + FIRE_OFF_KEY) + 1;
	return FIRE_OK;
}

static inline int fire_ring_open_(struct fire_ring *r, int fd, int writable)
{
	int err = fire_map_(&r->memory, fd, writable, 0);
	if (err != FIRE_OK)
		return err;
	r->lines = r->memory.at + FIRE_DATA_HEAD_BYTES;
	r->size = (r->memory.bytes - FIRE_DATA_HEAD_BYTES) / FIRE_LINE_BYTES;
	r->mask = r->size - 1;
	err = fire_ring_read_(r);
	if (err != FIRE_OK)
		fire_unmap_(&r->memory);
	return err;
}

static inline unsigned char *fire_line_(const struct fire_ring *r, uint64_t pos)
{
	return r->lines + (pos & r->mask) * FIRE_LINE_BYTES;
}

static inline uint64_t fire_lines_of_(uint64_t bytes)
{
	return (bytes + FIRE_HEADER_BYTES + FIRE_LINE_BYTES - 1) / FIRE_LINE_BYTES;
}

/* ---- writer ---- */

/* A reader as its writer sees it. */
struct fire_peer {
	uint64_t link; /* the caller's name for it */
	struct fire_memory cursor;
	int button;   /* of its doorbell, -1: it sleeps on the bell */
	dev_t device; /* which memory that is */
	ino_t inode;
	char service[FIRE_NAME_MAX + 1];
};

struct fire_writer {
	struct fire_ring ring;
	struct fire_gate gate;
	uint64_t length_max;
	uint64_t pos;
	uint64_t clear;  /* up to there nothing has to be looked at: neither limit, intent nor the memory's end */
	uint64_t limit;  /* up to there the readers of a lane let it write */
	uint64_t intent; /* up to there it has said that it writes */
	uint64_t messages;
	uint64_t bytes;
	uint64_t sample_at;     /* the number of the next sampled message */
	unsigned char *claimed; /* NULL: no claim */
	uint64_t claim_bytes;
	unsigned readers;
	struct fire_peer peer[FIRE_READERS_MAX];
};

static inline void fire_peer_close_(struct fire_peer *p)
{
	fire_unmap_(&p->cursor);
	if (p->button >= 0)
		close(p->button);
	p->button = -1;
}

FIRE_RING_API void fire_writer_close(struct fire_writer *w)
{
	while (w->readers > 0)
		fire_peer_close_(&w->peer[--w->readers]);
	fire_unmap_(&w->gate.memory);
	fire_unmap_(&w->ring.memory);
}

/* fire_writer_open maps the ring for writing. It is sealed by who made it once this has
 * succeeded. The descriptors stay yours. */
FIRE_RING_API int fire_writer_open(struct fire_writer *w, int data_fd, int gate_fd)
{
	memset(w, 0, sizeof *w);
	int err = fire_ring_open_(&w->ring, data_fd, 1);
	if (err == FIRE_OK && (fire_load_(w->ring.memory.at + FIRE_OFF_WRITTEN) != 0 || fire_load_(w->ring.memory.at + FIRE_OFF_INTENT) != 0))
		err = FIRE_USED;
	if (err == FIRE_OK)
		err = fire_gate_open_(&w->gate, gate_fd, w->ring.epoch);
	if (err != FIRE_OK) {
		fire_writer_close(w);
		return err;
	}
	w->length_max = w->ring.size / 4 * FIRE_LINE_BYTES - FIRE_HEADER_BYTES;
	if (w->length_max > FIRE_MESSAGE_MAX)
		w->length_max = FIRE_MESSAGE_MAX;
	fire_expect_fences_();
	return FIRE_OK;
}

/* fire_writer_add lets the writer respect and wake a reader; link is your name for it. */
FIRE_RING_API int fire_writer_add(struct fire_writer *w, int cursor_fd, uint64_t link, const char *service)
{
	struct stat st;
	if (w->readers == FIRE_READERS_MAX)
		return FIRE_BUSY;
	struct fire_peer *p = &w->peer[w->readers];
	int err = fire_sealed_(cursor_fd);
	if (err == FIRE_OK && fstat(cursor_fd, &st) != 0)
		err = FIRE_SYSTEM;
	if (err == FIRE_OK)
		err = fire_page_(&p->cursor, cursor_fd, 0, FIRE_MAGIC_CURSOR, w->ring.epoch);
	if (err != FIRE_OK)
		return err;
	p->link = link;
	p->button = -1;
	p->device = st.st_dev;
	p->inode = st.st_ino;
	snprintf(p->service, sizeof p->service, "%s", service != NULL ? service : "");
	w->readers++;
	return FIRE_OK;
}

/* fire_is_doorbell_ refuses what could make its writer wait: a unix datagram socket is asked
 * not to with each call. */
static inline int fire_is_doorbell_(int fd)
{
	int domain = -1, type = -1;
	socklen_t n = sizeof domain, m = sizeof type;
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &m) == 0 &&
	       domain == AF_UNIX && type == SOCK_DGRAM;
}

/* fire_writer_add_with_doorbell is fire_writer_add for a reader that waits in a poll loop. The
 * writer takes a copy of the button. */
FIRE_RING_API int fire_writer_add_with_doorbell(struct fire_writer *w, int cursor_fd, int button_fd, uint64_t link, const char *service)
{
	if (!fire_is_doorbell_(button_fd))
		return FIRE_NO_DOORBELL;
	int button = fcntl(button_fd, F_DUPFD_CLOEXEC, 0);
	if (button < 0)
		return FIRE_SYSTEM;
	int err = fire_writer_add(w, cursor_fd, link, service);
	if (err != FIRE_OK)
		close(button);
	else
		w->peer[w->readers - 1].button = button;
	return err;
}

/* fire_writer_remove forgets a reader: the writer waits for it no longer. */
FIRE_RING_API void fire_writer_remove(struct fire_writer *w, uint64_t link)
{
	for (unsigned i = 0; i < w->readers; i++) {
		if (w->peer[i].link != link)
			continue;
		fire_peer_close_(&w->peer[i]);
		w->peer[i] = w->peer[--w->readers];
		return;
	}
}

/* fire_may_ reports whether need more lines can be written, looking at the cursors anew when
 * the limit seems to be reached. */
static inline int fire_may_(struct fire_writer *w, uint64_t need)
{
	if (w->ring.discipline == FIRE_BROADCAST || w->pos + need <= w->limit)
		return 1;
	/* Without readers nobody has read anything. */
	uint64_t limit = w->readers == 0 ? w->ring.size : w->pos + w->ring.size;
	for (unsigned i = 0; i < w->readers; i++) {
		uint64_t p = fire_load_(w->peer[i].cursor.at + FIRE_OFF_POSITION);
		if (p <= w->pos && p + w->ring.size < limit) /* one that runs ahead lies, to its own harm */
			limit = p + w->ring.size;
	}
	w->limit = limit;
	if (w->pos + need <= limit)
		return 1;
	fire_count_more_(w->ring.memory.at + FIRE_OFF_WRITTEN + 16, 1);
	return 0;
}

/* fire_mark_ tells those whom the writer does not wait for how far it goes from here on, and
 * where the next message begins. */
static inline void fire_mark_(struct fire_writer *w, uint64_t need)
{
	unsigned char *at = w->ring.memory.at;
	uint64_t step = w->ring.size / 8, m = fire_load_(at + FIRE_OFF_MARK) + 1;
	w->intent = w->pos + (need > step ? need : step);
	fire_store_(at + FIRE_OFF_MARKS + 16 * (m & 1), w->pos);
	fire_store_(at + FIRE_OFF_MARKS + 16 * (m & 1) + 8, w->messages);
	fire_store_(at + FIRE_OFF_MARK, m);
	fire_store_(at + FIRE_OFF_INTENT, w->intent);
	atomic_thread_fence(memory_order_seq_cst); /* before any line that it covers */
}

/* fire_reserve_ makes contiguous room for n bytes at pos, padding up to the end of the memory
 * where it must. */
static inline int fire_reserve_(struct fire_writer *w, uint64_t n)
{
	if (fire_gate_state_(&w->gate) != FIRE_OPEN)
		return FIRE_SHUT;
	if (n > w->length_max)
		return FIRE_TOO_LONG;
	uint64_t need = fire_lines_of_(n), left = w->ring.size - (w->pos & w->ring.mask);
	if (left >= need)
		left = 0;
	if (!fire_may_(w, left + need))
		return FIRE_FULL;
	if (w->pos + left + need > w->intent)
		fire_mark_(w, left + need);
	if (left > 0) {
		unsigned char *line = fire_line_(&w->ring, w->pos);
		fire_count_(line + FIRE_OFF_LENGTH, (left * FIRE_LINE_BYTES - FIRE_HEADER_BYTES) | (uint64_t)FIRE_FLAG_PAD << 48);
		fire_store_(line, w->pos + w->ring.key1);
		w->pos += left;
		fire_count_more_(w->ring.memory.at + FIRE_OFF_WRITTEN + 32, left);
	}
	w->clear = (w->pos | w->ring.mask) + 1; /* the end of this lap */
	if (w->intent < w->clear)
		w->clear = w->intent;
	if (w->ring.discipline == FIRE_LANE && w->limit < w->clear)
		w->clear = w->limit;
	return FIRE_SENT;
}

static inline int fire_asleep_(const struct fire_peer *p)
{
	const void *asleep = p->cursor.at + FIRE_OFF_ASLEEP;
	return atomic_load_explicit((const _Atomic uint32_t *)asleep, memory_order_relaxed) != 0;
}

static inline void fire_wake_(struct fire_writer *w)
{
	unsigned char *at = w->ring.memory.at;
	fire_count_more_(at + FIRE_OFF_WRITTEN + 24, 1);
	atomic_fetch_add_explicit((_Atomic uint32_t *)(void *)(at + FIRE_OFF_BELL), 1, memory_order_seq_cst);
	fire_futex_wake_(at + FIRE_OFF_BELL);
	for (unsigned i = 0; i < w->readers; i++)
		if (w->peer[i].button >= 0 && fire_asleep_(&w->peer[i])) /* full: it is readable already */
			(void)!send(w->peer[i].button, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* fire_publish_ writes the head and lets the message be seen: its sequence comes last. */
static inline void fire_publish_(struct fire_writer *w, unsigned char *line, uint64_t n, uint16_t type)
{
	unsigned char *at = w->ring.memory.at;
	uint64_t head = n | (uint64_t)type << 32;
	if (w->messages >= w->sample_at) {
		w->sample_at = w->messages + FIRE_SAMPLE_EVERY;
		head |= (uint64_t)FIRE_FLAG_SAMPLE << 48;
		fire_store_(at + FIRE_OFF_SAMPLED_AT, fire_now_());
		fire_store_(at + FIRE_OFF_SAMPLED, w->pos + 1);
	}
	fire_count_(line + FIRE_OFF_LENGTH, head);
	fire_store_(line, w->pos + w->ring.key1);
	w->pos += fire_lines_of_(n);
	w->messages++;
	w->bytes += n;
	fire_count_(at + FIRE_OFF_WRITTEN, w->messages);
	fire_count_(at + FIRE_OFF_WRITTEN + 8, w->bytes);
	fire_count_(at + FIRE_OFF_WRITTEN + 40, w->pos);
	/* Only the compiler must keep the order here: the processor's fence is the membarrier of
	 * a reader that is about to sleep. */
	atomic_signal_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < w->readers; i++) {
		if (fire_asleep_(&w->peer[i])) {
			w->sample_at = w->messages; /* the clock costs little beside the call */
			fire_wake_(w);
			return;
		}
	}
}

/* fire_writer_offer writes one message and publishes it. It never waits. */
FIRE_RING_API int fire_writer_offer(struct fire_writer *w, uint16_t type, const void *p, size_t n)
{
	if (n > FIRE_MESSAGE_MAX || w->pos + fire_lines_of_(n) > w->clear || fire_gate_state_(&w->gate) != FIRE_OPEN) {
		int res = fire_reserve_(w, n);
		if (res != FIRE_SENT)
			return res;
	}
	unsigned char *line = fire_line_(&w->ring, w->pos);
	if (n > 0)
		memcpy(line + FIRE_OFF_PAYLOAD, p, n);
	fire_publish_(w, line, n, type);
	return FIRE_SENT;
}

/* fire_writer_claim gives n bytes of the ring to be filled in place; commit publishes them,
 * abort gives them back. Nothing is seen before commit. */
FIRE_RING_API int fire_writer_claim(struct fire_writer *w, size_t n, void **p)
{
	w->claimed = NULL;
	int res = fire_reserve_(w, n);
	if (res != FIRE_SENT)
		return res;
	w->claimed = fire_line_(&w->ring, w->pos);
	w->claim_bytes = n;
	*p = w->claimed + FIRE_OFF_PAYLOAD;
	return FIRE_SENT;
}

/* fire_writer_commit publishes the first n bytes of the claim. */
FIRE_RING_API int fire_writer_commit(struct fire_writer *w, uint16_t type, size_t n)
{
	unsigned char *line = w->claimed;
	if (line == NULL || n > w->claim_bytes)
		return FIRE_INVALID;
	w->claimed = NULL;
	fire_publish_(w, line, n, type);
	return FIRE_SENT;
}

FIRE_RING_API void fire_writer_abort(struct fire_writer *w) { w->claimed = NULL; }

/* fire_writer_state is what the direct node says of the lane: FIRE_OPEN or why not. */
FIRE_RING_API int fire_writer_state(const struct fire_writer *w, uint32_t *reason)
{
	uint32_t s = fire_gate_state_(&w->gate);
	if (reason != NULL)
		*reason = fire_gate_reason_(&w->gate);
	return (int)s;
}

/* ---- reader ---- */

struct fire_lane;

#define FIRE_IS_MESSAGE 0
#define FIRE_IS_GAP 1 /* messages number to last of a broadcast are lost */
#define FIRE_IS_END 2 /* no more comes from this lane: error, and of FIRE_SHUT state and reason */

/* What a poll finds. p is valid during the call only. A lane's p is the ring's own memory,
 * which a hostile writer may change meanwhile: what must be checked and then used is copied
 * first. A broadcast's p is a copy. */
struct fire_message {
	int what;
	uint16_t type;
	uint32_t bytes;
	const void *p;
	uint64_t number; /* counted from 0; a lane's reader counts from where it began */
	uint64_t last;
	const struct fire_lane *from; /* NULL from fire_reader_poll */
	int error;
	uint32_t state, reason;
};

typedef void (*fire_each)(void *user, const struct fire_message *m);

struct fire_reader {
	struct fire_ring ring;
	struct fire_gate gate;
	struct fire_memory own; /* the cursor */
	unsigned char *copy;    /* FIRE_MESSAGE_MAX bytes of the caller's, for broadcasts */
	uint64_t pos;
	uint64_t messages; /* received and lost: the number of the next */
	uint64_t bytes;
	int error;              /* why nothing is read any more */
	uint32_t state, reason; /* of FIRE_SHUT */
	int pending;            /* fire_reader_next has given a message that is not released yet */
};

/* How a reader waits while nothing is there. */
struct fire_strategy {
	unsigned spins;    /* looks before it does anything else */
	unsigned yields;   /* looks with sched_yield before each */
	unsigned sleep_ms; /* the longest that it then sleeps before it looks by itself; 0 never sleeps */
};

static const struct fire_strategy FIRE_SPIN = {65536, 0, 0};
static const struct fire_strategy FIRE_SPIN_YIELD = {256, 1024, 0};
/* 8 ms: a revocation rings no bell and is to be seen within 10. */
static const struct fire_strategy FIRE_ADAPTIVE = {4096, 16, 8};

FIRE_RING_API void fire_reader_close(struct fire_reader *r)
{
	fire_unmap_(&r->own);
	fire_unmap_(&r->gate.memory);
	fire_unmap_(&r->ring.memory);
}

/* fire_read_mark_ reads the newest mark: a position and the number of the message there. A
 * writer that dies leaves the last whole one. */
static inline int fire_read_mark_(const struct fire_ring *r, uint64_t *pos, uint64_t *number)
{
	const unsigned char *at = r->memory.at;
	for (int tries = 0; tries < 1 << 20; tries++) {
		uint64_t m = fire_load_(at + FIRE_OFF_MARK);
		*pos = fire_load_(at + FIRE_OFF_MARKS + 16 * (m & 1));
		*number = fire_load_(at + FIRE_OFF_MARKS + 16 * (m & 1) + 8);
		atomic_thread_fence(memory_order_acquire);
		if (fire_load_(at + FIRE_OFF_MARK) == m)
			return FIRE_OK;
	}
	return FIRE_CORRUPT; /* it never rests */
}

/* fire_reader_open maps a sealed ring for reading. The cursor is sealed by who made it once
 * this has succeeded, and then given to the writer. copy is memory of FIRE_MESSAGE_MAX bytes
 * for a broadcast, which may serve all readers of one thread; NULL will do for a lane. The
 * descriptors stay yours. */
FIRE_RING_API int fire_reader_open(struct fire_reader *r, int data_fd, int cursor_fd, int gate_fd, void *copy)
{
	memset(r, 0, sizeof *r);
	int err = fire_sealed_(data_fd);
	if (err == FIRE_OK)
		err = fire_ring_open_(&r->ring, data_fd, 0);
	if (err == FIRE_OK)
		err = fire_gate_open_(&r->gate, gate_fd, r->ring.epoch);
	if (err == FIRE_OK)
		err = fire_page_(&r->own, cursor_fd, 1, FIRE_MAGIC_CURSOR, r->ring.epoch);
	if (err == FIRE_OK && r->ring.discipline == FIRE_BROADCAST) {
		r->copy = copy;
		err = copy != NULL ? fire_read_mark_(&r->ring, &r->pos, &r->messages) : FIRE_INVALID;
	} else if (err == FIRE_OK) {
		r->pos = fire_load_(r->own.at + FIRE_OFF_POSITION);
	}
	if (err != FIRE_OK) {
		fire_reader_close(r);
		return err;
	}
	fire_store_(r->own.at + FIRE_OFF_POSITION, r->pos);
	fire_expect_fences_();
	return FIRE_OK;
}

/* fire_reader_start moves a lane's reader that has polled nothing yet. A broadcast's begins
 * at the mark by itself. */
FIRE_RING_API int fire_reader_start(struct fire_reader *r, uint64_t position)
{
	if (r->ring.discipline == FIRE_BROADCAST)
		return FIRE_OK;
	if (r->messages != 0)
		return FIRE_INVALID;
	r->pos = position;
	fire_store_(r->own.at + FIRE_OFF_POSITION, position);
	return FIRE_OK;
}

static inline int fire_passed_(const struct fire_reader *r)
{
	return fire_load_(r->ring.memory.at + FIRE_OFF_INTENT) > r->pos + r->ring.size;
}

static inline int fire_there_(const struct fire_reader *r)
{
	return fire_load_(fire_line_(&r->ring, r->pos)) == r->pos + r->ring.key1 ||
	       (r->ring.discipline == FIRE_BROADCAST && fire_passed_(r));
}

/* fire_reader_ready reports whether a poll has something to say. */
FIRE_RING_API int fire_reader_ready(const struct fire_reader *r)
{
	return r->error != FIRE_OK || fire_there_(r) || fire_gate_state_(&r->gate) != FIRE_OPEN;
}

/* fire_sample_ enters the age of a message whose time of publication is known. */
static inline void fire_sample_(struct fire_reader *r, uint64_t pos)
{
	uint64_t at = fire_load_(r->ring.memory.at + FIRE_OFF_SAMPLED_AT);
	if (fire_load_(r->ring.memory.at + FIRE_OFF_SAMPLED) != pos + 1)
		return; /* the writer has sampled another since */
	uint64_t now = fire_now_(), age = now > at ? now - at : 1;
	fire_count_more_(r->own.at + FIRE_OFF_LATENCY + 8 * (63 - (unsigned)__builtin_clzll(age)), 1);
}

/* fire_lapped_ goes on at the mark. */
static inline int fire_lapped_(struct fire_reader *r, struct fire_message *m)
{
	uint64_t pos, number;
	int err = fire_read_mark_(&r->ring, &pos, &number);
	if (err != FIRE_OK || pos <= r->pos || number <= r->messages)
		return FIRE_CORRUPT;
	m->what = FIRE_IS_GAP;
	m->number = r->messages;
	m->last = number - 1;
	fire_count_more_(r->own.at + FIRE_OFF_READ + 16, 1);
	fire_count_more_(r->own.at + FIRE_OFF_READ + 24, number - r->messages);
	r->pos = pos;
	r->messages = number;
	fire_store_(r->own.at + FIRE_OFF_POSITION, r->pos);
	return 1;
}

/* fire_take_ reads what is at pos: 1 with a message or gap, 0 for nothing, or an error. With
 * whole messages handed over before, a gap waits for the next poll. */
static inline int fire_take_(struct fire_reader *r, struct fire_message *m, int before)
{
	int broadcast = r->ring.discipline == FIRE_BROADCAST;
	memset(m, 0, sizeof *m);
	for (int pads = 0; pads < 2; pads++) { /* a writer pads once before a message */
		const unsigned char *line = fire_line_(&r->ring, r->pos);
		if (fire_load_(line) != r->pos + r->ring.key1)
			return broadcast && fire_passed_(r) && !before ? fire_lapped_(r, m) : 0;
		uint64_t head = fire_load_(line + FIRE_OFF_LENGTH), n = head & 0xffffffff, lines = fire_lines_of_(n);
		unsigned flags = (unsigned)(head >> 48);
		int pad = (flags & FIRE_FLAG_PAD) != 0;
		int ok = lines <= r->ring.size - (r->pos & r->ring.mask) && (n <= FIRE_MESSAGE_MAX || pad);
		m->p = line + FIRE_OFF_PAYLOAD;
		if (broadcast) {
			if (ok && !pad) {
				memcpy(r->copy, line + FIRE_OFF_PAYLOAD, n);
				m->p = r->copy;
			}
			atomic_thread_fence(memory_order_acquire);
			if (fire_passed_(r)) /* it was being written over meanwhile */
				return before ? 0 : fire_lapped_(r, m);
		}
		if (!ok)
			return FIRE_CORRUPT;
		if ((flags & FIRE_FLAG_SAMPLE) != 0 && !pad)
			fire_sample_(r, r->pos);
		r->pos += lines;
		if (pad)
			continue;
		m->what = FIRE_IS_MESSAGE;
		m->type = (uint16_t)(head >> 32);
		m->bytes = (uint32_t)n;
		m->number = r->messages++;
		r->bytes += n;
		return 1;
	}
	return 0;
}

/* fire_release_ gives the writer what was read. */
static inline void fire_release_(struct fire_reader *r)
{
	fire_store_(r->own.at + FIRE_OFF_POSITION, r->pos);
	fire_count_(r->own.at + FIRE_OFF_READ, r->messages);
	fire_count_(r->own.at + FIRE_OFF_READ + 8, r->bytes);
	r->pending = 0;
}

/* fire_shut_ is asked when nothing was there: a shut gate ends the reading once everything
 * that was published before is read. */
static inline int fire_shut_(struct fire_reader *r)
{
	uint32_t s = fire_gate_state_(&r->gate);
	if (s == FIRE_OPEN || ((s == FIRE_ORPHANED || s == FIRE_CLOSED) && fire_there_(r)))
		return 0;
	r->state = s;
	r->reason = fire_gate_reason_(&r->gate);
	r->error = FIRE_SHUT;
	return r->error;
}

/* fire_revoked_ ends the reading at once, also when the writer goes on regardless. */
static inline int fire_revoked_(struct fire_reader *r)
{
	if (r->error == FIRE_OK && fire_gate_state_(&r->gate) == FIRE_REVOKED) {
		r->state = FIRE_REVOKED;
		r->reason = fire_gate_reason_(&r->gate);
		r->error = FIRE_SHUT;
	}
	return r->error;
}

/* fire_reader_poll hands over what is there, most messages at most, and returns their number.
 * A gap is handed over alone: it returns 0 then. An error stays: FIRE_CORRUPT, or FIRE_SHUT
 * with the reader's state and reason, when the lane is revoked, or when it is closed or its
 * writer dead and all is read. */
FIRE_RING_API int fire_reader_poll(struct fire_reader *r, int most, fire_each each, void *user)
{
	struct fire_message m;
	int n = 0, got = 0;
	if (r->pending)
		fire_release_(r);
	if (fire_revoked_(r) != FIRE_OK)
		return r->error;
	while (n < most && (got = fire_take_(r, &m, n > 0)) == 1) {
		each(user, &m);
		if (m.what == FIRE_IS_GAP)
			return 0;
		n++;
	}
	if (got < 0)
		r->error = got;
	if (n > 0) {
		fire_release_(r);
		return n;
	}
	return got < 0 ? got : fire_shut_(r);
}

/* fire_reader_next is poll without a callback: 1 with a message or gap in m, which is valid
 * until the next call of next or poll; 0 when nothing is there; or an error. */
FIRE_RING_API int fire_reader_next(struct fire_reader *r, struct fire_message *m)
{
	if (r->pending)
		fire_release_(r);
	if (fire_revoked_(r) != FIRE_OK)
		return r->error;
	int got = fire_take_(r, m, 0);
	if (got == 1)
		r->pending = m->what == FIRE_IS_MESSAGE;
	else if (got < 0)
		r->error = got;
	return got == 0 ? fire_shut_(r) : got;
}

/* fire_reader_sleep_ waits for the writer's bell. */
static inline void fire_reader_sleep_(struct fire_reader *r, int ms)
{
	_Atomic uint32_t *asleep = (_Atomic uint32_t *)(void *)(r->own.at + FIRE_OFF_ASLEEP);
	unsigned char *bell = r->ring.memory.at + FIRE_OFF_BELL;
	uint32_t rung = fire_load_half_(bell);
	atomic_store_explicit(asleep, 1, memory_order_seq_cst);
	if (!fire_fence_all_())
		ms = 1; /* the writer may not see that we sleep */
	if (!fire_reader_ready(r)) {
		fire_count_more_(r->own.at + FIRE_OFF_READ + 32, 1);
		fire_futex_wait_(bell, rung, ms);
	}
	atomic_store_explicit(asleep, 0, memory_order_seq_cst);
}

/* fire_reader_wait returns 1 when a poll has something to say, and 0 after one round of the
 * strategy. It may sleep. */
FIRE_RING_API int fire_reader_wait(struct fire_reader *r, const struct fire_strategy *s)
{
	for (unsigned i = 0; i < s->spins; i++)
		if (fire_reader_ready(r))
			return 1;
	for (unsigned i = 0; i < s->yields; i++) {
		sched_yield();
		if (fire_reader_ready(r))
			return 1;
	}
	if (s->sleep_ms > 0)
		fire_reader_sleep_(r, (int)s->sleep_ms);
	return fire_reader_ready(r);
}

/* fire_reader_state is what the direct node says of the lane: FIRE_OPEN or why not. */
FIRE_RING_API int fire_reader_state(const struct fire_reader *r, uint32_t *reason)
{
	uint32_t s = fire_gate_state_(&r->gate);
	if (reason != NULL)
		*reason = fire_gate_reason_(&r->gate);
	return (int)s;
}

/* ---- stat ---- */

/* What a ring and, of a reader, its cursor have counted. */
struct fire_stat {
	char name[FIRE_NAME_MAX + 1];
	uint32_t discipline, state, reason;
	uint64_t epoch, lines, created;
	uint64_t messages, bytes, full, bells, padding, position; /* the writer's word */
	uint64_t read, read_bytes, laps, lost, waits, lag_lines;  /* of this reader */
	uint64_t latency[64]; /* of sampled messages: element i counts 2^i to 2^(i+1)-1 ns */
};

static inline void fire_stat_(struct fire_stat *s, const struct fire_ring *r, const struct fire_gate *g)
{
	const unsigned char *at = r->memory.at + FIRE_OFF_WRITTEN;
	memset(s, 0, sizeof *s);
	memcpy(s->name, r->name, sizeof s->name);
	s->discipline = r->discipline;
	s->epoch = r->epoch;
	s->lines = r->size;
	s->created = r->created;
	s->state = fire_gate_state_(g);
	s->reason = fire_gate_reason_(g);
	s->messages = fire_load_(at);
	s->bytes = fire_load_(at + 8);
	s->full = fire_load_(at + 16);
	s->bells = fire_load_(at + 24);
	s->padding = fire_load_(at + 32);
	s->position = fire_load_(at + 40);
}

FIRE_RING_API void fire_writer_stat(const struct fire_writer *w, struct fire_stat *s) { fire_stat_(s, &w->ring, &w->gate); }

FIRE_RING_API void fire_reader_stat(const struct fire_reader *r, struct fire_stat *s)
{
	const unsigned char *at = r->own.at + FIRE_OFF_READ;
	fire_stat_(s, &r->ring, &r->gate);
	s->read = fire_load_(at);
	s->read_bytes = fire_load_(at + 8);
	s->laps = fire_load_(at + 16);
	s->lost = fire_load_(at + 24);
	s->waits = fire_load_(at + 32);
	uint64_t own = fire_load_(r->own.at + FIRE_OFF_POSITION);
	s->lag_lines = s->position > own ? s->position - own : 0;
	for (int i = 0; i < 64; i++)
		s->latency[i] = fire_load_(r->own.at + FIRE_OFF_LATENCY + 8 * i);
}

/* ---- end: a program's hold on a channel ---- */

#ifndef FIRE_LANES_MAX
#define FIRE_LANES_MAX 32 /* of one end; further ones are not taken */
#endif

struct fire_lane {
	uint64_t link; /* the direct node's name for it */
	uint64_t pair; /* of rpc: the link of the lane that goes the other way */
	int way;       /* 0: this place is free */
	int begun;     /* a reader polls it */
	int data_fd, cursor_fd; /* kept: without them nothing can be adopted */
	char service[FIRE_NAME_MAX + 1]; /* at the other end */
	union {
		struct fire_writer writer; /* way FIRE_WRITES */
		struct fire_reader reader; /* way FIRE_READS */
	};
};

struct fire_end {
	int sock; /* -1: no direct node governs this end now */
	int side;
	int kind, wait; /* of the channel, from the welcome; set wait after attach to have another */
	int refused;    /* the end is over: reason and text say why */
	uint32_t reason;
	char text[FIRE_TEXT_MAX + 1];
	int error;         /* what went wrong last with the direct node, though the end goes on */
	unsigned losses;   /* direct nodes that went away */
	unsigned too_many; /* lanes that had no place */
	uint64_t retry_ns; /* not before */
	unsigned turn;     /* of the lane that poll looks at first */
	unsigned lanes;    /* that have begun */
	struct fire_lane *in[FIRE_LANES_MAX];
	struct fire_writer *out; /* the ring that this end writes, or NULL */
	char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char channel[FIRE_NAME_MAX + 1];
	char asks[FIRE_NAME_MAX + 1];    /* the service that this end wants to be */
	char service[FIRE_NAME_MAX + 1]; /* the service that it is */
	struct fire_lane lane[FIRE_LANES_MAX];
	unsigned char copy[FIRE_MESSAGE_MAX];
};

#define FIRE_REASON_PEER_CLOSED 406 /* of policy/reason */
#define FIRE_HELD_MARK ((uint64_t)1 << 63) /* in links that a direct node which is gone has given */
#define FIRE_RETRY_NS 50000000u
#define FIRE_ATTACH_NS 5000000000u
#define FIRE_GOODBYE_NS 1000000000u

/* A packet that came, or is written. Descriptors that nobody takes are closed by who received it. */
struct fire_packet_ {
	unsigned char b[FIRE_PACKET_MAX + 1];
	size_t bytes, at; /* at: where the next field begins */
	int bad;          /* a field was missing, or has no legal value */
	int fd[FIRE_FDS_MAX];
	unsigned fds;
	uint16_t type;
	uint64_t id;
};

static inline uint64_t fire_get_(struct fire_packet_ *k, unsigned bytes)
{
	uint64_t v = 0;
	if (k->bytes - k->at < bytes) {
		k->bad = 1;
		return 0;
	}
	memcpy(&v, k->b + k->at, bytes); /* little-endian, like this machine */
	k->at += bytes;
	return v;
}

/* fire_get_text_ reads n bytes into a string that has room for most and its end. */
static inline void fire_get_text_(struct fire_packet_ *k, size_t n, char *to, size_t most)
{
	to[0] = 0;
	if (n > most || k->bytes - k->at < n) {
		k->bad = 1;
		return;
	}
	memcpy(to, k->b + k->at, n);
	to[n] = 0;
	k->at += n;
}

/* fire_whole_ tells whether the packet was read to its end and has so many descriptors. */
static inline int fire_whole_(const struct fire_packet_ *k, unsigned fds)
{
	return !k->bad && k->at == k->bytes && k->fds == fds;
}

static inline void fire_put_(struct fire_packet_ *k, uint64_t v, unsigned bytes)
{
	memcpy(k->b + k->bytes, &v, bytes);
	k->bytes += bytes;
}

static inline void fire_put_text_(struct fire_packet_ *k, const char *s)
{
	size_t n = strlen(s);
	fire_put_(k, n, 1);
	memcpy(k->b + k->bytes, s, n);
	k->bytes += n;
}

static inline void fire_packet_begin_(struct fire_packet_ *k, uint16_t type, uint64_t id)
{
	memset(k, 0, sizeof *k);
	fire_put_(k, type, 2);
	fire_put_(k, FIRE_PROTOCOL_VERSION, 2);
	fire_put_(k, 0, 4);
	fire_put_(k, id, 8);
}

static inline void fire_close_fd_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void fire_close_fds_(struct fire_packet_ *k)
{
	while (k->fds > 0)
		close(k->fd[--k->fds]);
}

/* Room for the descriptors of a packet, as the kernel wants it. */
union fire_control_ {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int) * FIRE_FDS_MAX)];
};

static inline int fire_send_(int sock, struct fire_packet_ *k)
{
	uint32_t body = (uint32_t)(k->bytes - 16);
	union fire_control_ control;
	struct iovec v = {k->b, k->bytes};
	struct msghdr m;
	memset(&m, 0, sizeof m);
	memset(&control, 0, sizeof control);
	memcpy(k->b + 4, &body, 4);
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	if (k->fds > 0) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * k->fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * k->fds);
		memcpy(CMSG_DATA(c), k->fd, sizeof(int) * k->fds);
	}
	return sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)k->bytes ? FIRE_OK : FIRE_SYSTEM;
}

/* fire_take_fds_ owns the descriptors that came with a packet: the kernel has installed all. */
static inline void fire_take_fds_(struct fire_packet_ *k, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; CMSG_LEN(sizeof(int) * (i + 1)) <= c->cmsg_len; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + sizeof(int) * i, sizeof fd);
			if (k->fds < FIRE_FDS_MAX)
				k->fd[k->fds++] = fd;
			else
				close(fd);
		}
	}
}

/* fire_receive_ reads one packet without waiting: 1 with one, 0 for none, or an error; the
 * direct node's end is FIRE_UNREACHABLE. */
static inline int fire_receive_(int sock, struct fire_packet_ *k)
{
	union fire_control_ control;
	struct iovec v = {k->b, sizeof k->b};
	struct msghdr m;
	ssize_t n;
	memset(k, 0, sizeof *k);
	do {
		memset(&m, 0, sizeof m);
		m.msg_iov = &v;
		m.msg_iovlen = 1;
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : FIRE_UNREACHABLE;
	fire_take_fds_(k, &m);
	k->bytes = (size_t)n;
	k->type = (uint16_t)fire_get_(k, 2);
	uint64_t version = fire_get_(k, 2), body = fire_get_(k, 4);
	k->id = fire_get_(k, 8);
	if (n > 0 && (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && !k->bad && k->bytes <= FIRE_PACKET_MAX &&
	    version == FIRE_PROTOCOL_VERSION && body == k->bytes - k->at)
		return 1;
	fire_close_fds_(k);
	return n == 0 ? FIRE_UNREACHABLE : FIRE_PROTOCOL;
}

static inline struct fire_gate *fire_gate_of_(struct fire_lane *l)
{
	return l->way == FIRE_WRITES ? &l->writer.gate : l->way == FIRE_READS ? &l->reader.gate : NULL;
}

/* fire_shut_all_ shuts what the end holds, when no gate will say it. */
static inline void fire_shut_all_(struct fire_end *e, uint32_t state, uint32_t reason)
{
	for (int i = 0; i < FIRE_LANES_MAX; i++)
		if (e->lane[i].way != 0)
			fire_gate_shut_(fire_gate_of_(&e->lane[i]), state, reason);
}

/* fire_drop_ loses the direct node. The rings go on, but for pairs of rpc: a pair is a
 * connection, and a new direct node makes new ones. */
static inline void fire_drop_(struct fire_end *e, int why)
{
	if (e->sock < 0)
		return;
	fire_close_fd_(&e->sock);
	e->error = why;
	e->losses++;
	e->retry_ns = 0; /* once more at once, then after pauses */
	if (e->kind == FIRE_KIND_RPC)
		fire_shut_all_(e, FIRE_CLOSED, FIRE_REASON_PEER_CLOSED);
}

static inline void fire_say_(struct fire_end *e, uint16_t type, uint64_t id, const uint64_t *position)
{
	struct fire_packet_ k;
	fire_packet_begin_(&k, type, id);
	if (position != NULL)
		fire_put_(&k, *position, 8);
	if (e->sock >= 0 && fire_send_(e->sock, &k) != FIRE_OK)
		fire_drop_(e, FIRE_SYSTEM);
}

static inline void fire_lane_close_(struct fire_end *e, struct fire_lane *l)
{
	for (unsigned i = 0; i < e->lanes; i++) {
		if (e->in[i] == l) {
			e->in[i] = e->in[--e->lanes];
			break;
		}
	}
	if (l->way == FIRE_WRITES) {
		if (e->out == &l->writer)
			e->out = NULL;
		fire_writer_close(&l->writer);
	} else if (l->way == FIRE_READS) {
		fire_reader_close(&l->reader);
	}
	fire_close_fd_(&l->data_fd);
	fire_close_fd_(&l->cursor_fd);
	l->way = 0;
	l->begun = 0;
}

static inline struct fire_lane *fire_lane_of_(struct fire_end *e, uint64_t link, int way)
{
	for (int i = 0; i < FIRE_LANES_MAX; i++)
		if (e->lane[i].way == way && e->lane[i].link == link)
			return &e->lane[i];
	return NULL;
}

/* fire_holds_ tells whether a lane is held up to a new direct node. */
static inline int fire_holds_(const struct fire_end *e, const struct fire_lane *l)
{
	return e->kind != FIRE_KIND_RPC && (l->way == FIRE_WRITES || l->begun);
}

/* fire_ask_ sends attach, then what is held up. */
static inline int fire_ask_(struct fire_end *e)
{
	struct fire_packet_ k;
	unsigned n = 0;
	for (int i = 0; i < FIRE_LANES_MAX; i++)
		n += fire_holds_(e, &e->lane[i]);
	fire_packet_begin_(&k, FIRE_TYPE_ATTACH, 0);
	fire_put_(&k, FIRE_LAYOUT_HASH, 8);
	fire_put_(&k, (uint64_t)e->side, 1);
	fire_put_(&k, 0, 1);
	fire_put_(&k, n, 2);
	fire_put_text_(&k, e->channel);
	fire_put_text_(&k, e->asks);
	int err = fire_send_(e->sock, &k);
	for (int i = 0; i < FIRE_LANES_MAX && err == FIRE_OK; i++) {
		struct fire_lane *l = &e->lane[i];
		if (!fire_holds_(e, l))
			continue;
		fire_packet_begin_(&k, FIRE_TYPE_HELD, l->link);
		k.fd[k.fds++] = l->data_fd;
		if (l->way == FIRE_READS)
			k.fd[k.fds++] = l->cursor_fd;
		err = fire_send_(e->sock, &k);
	}
	return err;
}

/* fire_close_unbegun_ closes lanes that never began, and of rpc those that have no way back:
 * they are not held up, and a new direct node gives new ones. */
static inline void fire_close_unbegun_(struct fire_end *e)
{
	for (int i = 0; i < FIRE_LANES_MAX; i++) {
		struct fire_lane *l = &e->lane[i];
		int used = l->begun || (l->way == FIRE_WRITES && e->kind != FIRE_KIND_RPC);
		for (unsigned k = 0; k < e->lanes; k++)
			used |= l->way == FIRE_WRITES && e->in[k]->pair == l->link;
		if (l->way != 0 && !used)
			fire_lane_close_(e, l);
	}
}

/* fire_connect_ asks once for a direct node, and says what this end wants. */
static inline int fire_connect_(struct fire_end *e)
{
	struct sockaddr_un a;
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	memcpy(a.sun_path, e->socket, sizeof a.sun_path);
	e->retry_ns = fire_now_() + FIRE_RETRY_NS;
	fire_close_unbegun_(e);
	e->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (e->sock < 0)
		return FIRE_SYSTEM;
	if (connect(e->sock, (const struct sockaddr *)&a, sizeof a) == 0 && fire_ask_(e) == FIRE_OK)
		return FIRE_OK;
	fire_close_fd_(&e->sock);
	return FIRE_UNREACHABLE;
}

static inline int fire_on_welcome_(struct fire_end *e, struct fire_packet_ *k)
{
	char service[FIRE_NAME_MAX + 1];
	int kind = (int)fire_get_(k, 1), wait = (int)fire_get_(k, 1);
	fire_get_(k, 2);
	fire_get_text_(k, fire_get_(k, 1), service, FIRE_NAME_MAX);
	if (!fire_whole_(k, 0))
		return FIRE_PROTOCOL;
	memcpy(e->service, service, sizeof service);
	if (e->kind == 0)
		e->wait = wait;
	e->kind = kind;
	return FIRE_OK;
}

static inline int fire_on_lane_(struct fire_end *e, struct fire_packet_ *k)
{
	char service[FIRE_NAME_MAX + 1];
	fire_get_(k, 8); /* epoch: the memory says it, too */
	uint64_t pair = fire_get_(k, 8);
	int way = (int)fire_get_(k, 1);
	fire_get_text_(k, fire_get_(k, 1), service, FIRE_NAME_MAX);
	if ((way != FIRE_WRITES && way != FIRE_READS) || !fire_whole_(k, way == FIRE_WRITES ? 2 : 3))
		return FIRE_PROTOCOL;
	struct fire_lane *l = NULL;
	for (int i = 0; i < FIRE_LANES_MAX && l == NULL; i++)
		if (e->lane[i].way == 0)
			l = &e->lane[i];
	if (l == NULL) {
		e->too_many++;
		return FIRE_OK;
	}
	int err = way == FIRE_WRITES ? fire_writer_open(&l->writer, k->fd[0], k->fd[1])
	                             : fire_reader_open(&l->reader, k->fd[0], k->fd[1], k->fd[2], e->copy);
	if (err != FIRE_OK)
		return err;
	l->link = k->id;
	l->pair = pair;
	l->way = way;
	l->begun = 0;
	l->data_fd = k->fd[0];
	l->cursor_fd = way == FIRE_READS ? k->fd[1] : -1;
	close(k->fd[k->fds - 1]); /* the gate's mapping is enough */
	k->fds = 0;
	memcpy(l->service, service, sizeof service);
	if (way == FIRE_WRITES)
		e->out = &l->writer;
	fire_say_(e, FIRE_TYPE_MAPPED, l->link, NULL);
	return FIRE_OK;
}

/* fire_on_reader_ respects a reader, and says where it may begin: from here on nothing is
 * written over before that reader says so. */
static inline int fire_on_reader_(struct fire_end *e, struct fire_packet_ *k)
{
	char service[FIRE_NAME_MAX + 1];
	struct stat st;
	uint64_t link = fire_get_(k, 8);
	fire_get_text_(k, fire_get_(k, 1), service, FIRE_NAME_MAX);
	if (!fire_whole_(k, 1) && !fire_whole_(k, 2)) /* the cursor; the button of its doorbell, if it has one */
		return FIRE_PROTOCOL;
	struct fire_lane *l = fire_lane_of_(e, link, FIRE_WRITES);
	if (l == NULL)
		return e->kind == FIRE_KIND_RPC ? FIRE_OK : FIRE_PROTOCOL; /* a pair that was ended here meanwhile */
	if (fstat(k->fd[0], &st) != 0)
		return FIRE_SYSTEM;
	struct fire_peer *known = NULL;
	for (unsigned i = 0; i < l->writer.readers; i++) /* from before the direct node was replaced */
		if (l->writer.peer[i].device == st.st_dev && l->writer.peer[i].inode == st.st_ino)
			known = &l->writer.peer[i];
	int err = FIRE_OK;
	if (known != NULL)
		known->link = k->id;
	else if (k->fds == 2)
		err = fire_writer_add_with_doorbell(&l->writer, k->fd[0], k->fd[1], k->id, service);
	else
		err = fire_writer_add(&l->writer, k->fd[0], k->id, service);
	if (err != FIRE_OK)
		return err;
	uint64_t position = fire_load_(l->writer.ring.memory.at + FIRE_OFF_WRITTEN + 40);
	fire_say_(e, FIRE_TYPE_ADDED, k->id, &position);
	return FIRE_OK;
}

static inline int fire_on_start_(struct fire_end *e, struct fire_packet_ *k)
{
	uint64_t position = fire_get_(k, 8);
	struct fire_lane *l = fire_lane_of_(e, k->id, FIRE_READS);
	if (!fire_whole_(k, 0) || l == NULL || l->begun)
		return FIRE_PROTOCOL;
	int err = fire_reader_start(&l->reader, position);
	if (err != FIRE_OK)
		return err;
	l->begun = 1;
	e->in[e->lanes++] = l;
	return FIRE_OK;
}

/* fire_on_gone_: a writer forgets this reader; a lane that never began is dropped, one that
 * has begun ends by its gate, when it is read. */
static inline int fire_on_gone_(struct fire_end *e, struct fire_packet_ *k)
{
	if (!fire_whole_(k, 0))
		return FIRE_PROTOCOL;
	for (int i = 0; i < FIRE_LANES_MAX; i++) {
		struct fire_lane *l = &e->lane[i];
		if (l->way == FIRE_WRITES)
			fire_writer_remove(&l->writer, k->id);
		else if (l->way == FIRE_READS && !l->begun && l->link == k->id)
			fire_lane_close_(e, l);
	}
	return FIRE_OK;
}

/* fire_on_adopted_ takes the new direct node's link and gate for a lane that went on without
 * one. */
static inline int fire_on_adopted_(struct fire_end *e, struct fire_packet_ *k)
{
	uint64_t link = fire_get_(k, 8);
	if (!fire_whole_(k, 1))
		return FIRE_PROTOCOL;
	for (int i = 0; i < FIRE_LANES_MAX; i++) {
		struct fire_lane *l = &e->lane[i];
		if (l->way == 0 || l->link != k->id)
			continue;
		int err = fire_gate_open_(fire_gate_of_(l), k->fd[0], l->way == FIRE_WRITES ? l->writer.ring.epoch : l->reader.ring.epoch);
		if (err != FIRE_OK)
			return err;
		l->link = link;
		for (unsigned r = 0; l->way == FIRE_WRITES && r < l->writer.readers; r++)
			l->writer.peer[r].link |= FIRE_HELD_MARK;
		return FIRE_OK;
	}
	return FIRE_OK; /* it has ended meanwhile */
}

/* fire_on_settled_ forgets the readers that were not named again. */
static inline int fire_on_settled_(struct fire_end *e, struct fire_packet_ *k)
{
	struct fire_lane *l = fire_lane_of_(e, k->id, FIRE_WRITES);
	if (!fire_whole_(k, 0))
		return FIRE_PROTOCOL;
	for (unsigned i = l != NULL ? l->writer.readers : 0; i > 0; i--)
		if ((l->writer.peer[i - 1].link & FIRE_HELD_MARK) != 0)
			fire_writer_remove(&l->writer, l->writer.peer[i - 1].link);
	return FIRE_OK;
}

static inline int fire_on_refused_(struct fire_end *e, struct fire_packet_ *k)
{
	uint32_t reason = (uint32_t)fire_get_(k, 2);
	fire_get_text_(k, fire_get_(k, 2), e->text, FIRE_TEXT_MAX);
	if (!fire_whole_(k, 0))
		return FIRE_PROTOCOL;
	e->reason = reason;
	e->refused = 1;
	fire_close_fd_(&e->sock);
	fire_shut_all_(e, FIRE_REVOKED, reason);
	return FIRE_OK;
}

static inline int fire_on_(struct fire_end *e, struct fire_packet_ *k)
{
	switch (k->type) {
	case FIRE_TYPE_WELCOME:
		return fire_on_welcome_(e, k);
	case FIRE_TYPE_LANE:
		return fire_on_lane_(e, k);
	case FIRE_TYPE_READER:
		return fire_on_reader_(e, k);
	case FIRE_TYPE_START:
		return fire_on_start_(e, k);
	case FIRE_TYPE_GONE:
		return fire_on_gone_(e, k);
	case FIRE_TYPE_REFUSED:
		return fire_on_refused_(e, k);
	case FIRE_TYPE_ADOPTED:
		return fire_on_adopted_(e, k);
	case FIRE_TYPE_SETTLED:
		return fire_on_settled_(e, k);
	}
	return FIRE_PROTOCOL;
}

/* fire_ring_service talks with the direct node and never waits: call it in your own loop,
 * every few milliseconds, or when fire_ring_fd is readable, but not from a callback. It takes
 * new lanes and readers, and finds the next direct node when one goes away, while the rings
 * go on. It returns the number of packets handled, or FIRE_REFUSED when the end is over. */
FIRE_RING_API int fire_ring_service(struct fire_end *e)
{
	struct fire_packet_ k;
	int handled = 0, got;
	if (e->refused)
		return FIRE_REFUSED;
	if (e->sock < 0 && fire_now_() >= e->retry_ns)
		fire_connect_(e);
	/* Not for ever: a direct node that never stops talking must not hold up the caller. */
	while (e->sock >= 0 && handled < 256 && (got = fire_receive_(e->sock, &k)) != 0) {
		int err = got == 1 ? fire_on_(e, &k) : got;
		fire_close_fds_(&k);
		if (e->refused)
			return FIRE_REFUSED;
		if (err != FIRE_OK)
			fire_drop_(e, err);
		handled++;
	}
	return handled;
}

/* fire_ring_fd is what to poll for reading; -1 while there is no direct node. */
FIRE_RING_API int fire_ring_fd(const struct fire_end *e) { return e->sock; }

/* fire_ring_writer is the ring that this end writes; NULL for none. */
FIRE_RING_API struct fire_writer *fire_ring_writer(struct fire_end *e) { return e->out; }

/* fire_ring_detach says goodbye, waits at most a second for the answer, and unmaps. What was
 * published stays for its readers. */
FIRE_RING_API void fire_ring_detach(struct fire_end *e)
{
	struct fire_packet_ k;
	fire_say_(e, FIRE_TYPE_DETACH, 0, NULL);
	for (uint64_t until = fire_now_() + FIRE_GOODBYE_NS; e->sock >= 0 && fire_now_() < until;) {
		int got = fire_receive_(e->sock, &k);
		fire_close_fds_(&k);
		if (got < 0)
			break;
		struct pollfd p = {e->sock, POLLIN, 0};
		if (got == 0)
			poll(&p, 1, 10);
	}
	fire_close_fd_(&e->sock);
	for (int i = 0; i < FIRE_LANES_MAX; i++)
		fire_lane_close_(e, &e->lane[i]);
}

/* fire_ring_attach attaches this program to a channel. It waits, 5 s at most, until the end
 * can be used: a publisher has its ring, a subscriber is welcome (lanes come with their
 * publishers). service may be NULL: the only one that this program may be. On FIRE_REFUSED
 * the end's reason and text say why; nothing is left open after an error. */
FIRE_RING_API int fire_ring_attach(struct fire_end *e, const char *socket, const char *channel, const char *service, int side)
{
	memset(e, 0, offsetof(struct fire_end, copy));
	e->sock = -1;
	e->side = side;
	for (int i = 0; i < FIRE_LANES_MAX; i++)
		e->lane[i].data_fd = e->lane[i].cursor_fd = -1;
	service = service != NULL ? service : "";
	if (socket == NULL || channel == NULL || strlen(socket) >= sizeof e->socket || strlen(channel) > FIRE_NAME_MAX ||
	    strlen(service) > FIRE_NAME_MAX || channel[0] == 0 || (side != FIRE_PUBLISH && side != FIRE_SUBSCRIBE))
		return FIRE_INVALID;
	memcpy(e->socket, socket, strlen(socket) + 1);
	memcpy(e->channel, channel, strlen(channel) + 1);
	memcpy(e->asks, service, strlen(service) + 1);
	int err = fire_connect_(e);
	if (err != FIRE_OK)
		return err;
	for (uint64_t until = fire_now_() + FIRE_ATTACH_NS; fire_now_() < until;) {
		if (fire_ring_service(e) == FIRE_REFUSED) {
			fire_ring_detach(e);
			return FIRE_REFUSED;
		}
		if (e->kind != 0 && (side == FIRE_SUBSCRIBE || e->kind == FIRE_KIND_RPC || e->out != NULL))
			return FIRE_OK;
		struct pollfd p = {e->sock, POLLIN, 0};
		poll(&p, 1, 10);
	}
	err = e->error != FIRE_OK ? e->error : FIRE_UNREACHABLE;
	fire_ring_detach(e);
	return err;
}

/* fire_ring_offer writes one message to the end's ring and publishes it. It never waits. */
FIRE_RING_API int fire_ring_offer(struct fire_end *e, uint16_t type, const void *p, size_t n)
{
	return e->out != NULL ? fire_writer_offer(e->out, type, p, n) : FIRE_NOT_YET;
}

/* fire_ring_claim gives n bytes of the end's ring to be filled in place. */
FIRE_RING_API int fire_ring_claim(struct fire_end *e, size_t n, void **p)
{
	return e->out != NULL ? fire_writer_claim(e->out, n, p) : FIRE_NOT_YET;
}

/* fire_ring_commit publishes the first n bytes of the claim. */
FIRE_RING_API int fire_ring_commit(struct fire_end *e, uint16_t type, size_t n)
{
	return e->out != NULL ? fire_writer_commit(e->out, type, n) : FIRE_NOT_YET;
}

/* fire_ring_abort gives the claim back. */
FIRE_RING_API void fire_ring_abort(struct fire_end *e)
{
	if (e->out != NULL)
		fire_writer_abort(e->out);
}

/* fire_ring_readers is how many readers the end's ring respects. */
FIRE_RING_API int fire_ring_readers(const struct fire_end *e) { return e->out != NULL ? (int)e->out->readers : 0; }

/* fire_ring_lanes is how many lanes this end reads. */
FIRE_RING_API int fire_ring_lanes(const struct fire_end *e) { return (int)e->lanes; }

/* fire_ring_pair is the ring that goes the way back of a message's lane, of an rpc channel:
 * where a server answers. NULL: there is none any more. */
FIRE_RING_API struct fire_writer *fire_ring_pair(struct fire_end *e, const struct fire_lane *from)
{
	struct fire_lane *l = from->pair != 0 ? fire_lane_of_(e, from->pair, FIRE_WRITES) : NULL;
	return l != NULL ? &l->writer : NULL;
}

struct fire_told_ {
	fire_each each;
	void *user;
	struct fire_lane *lane;
};

static inline void fire_tell_(void *user, const struct fire_message *m)
{
	struct fire_told_ *t = user;
	struct fire_message mine = *m;
	mine.from = t->lane;
	/* of a lane from another host: its direct node says what was lost on the way */
	if (t->lane->pair == FIRE_FAR_LANE && m->what == FIRE_IS_MESSAGE && m->type == FIRE_TYPE_LOST && m->bytes == 16) {
		mine.what = FIRE_IS_GAP;
		memcpy(&mine.number, m->p, 8); /* little-endian, like this machine */
		memcpy(&mine.last, (const unsigned char *)m->p + 8, 8);
	}
	t->each(t->user, &mine);
}

/* fire_end_lane_ tells that a lane is over, and forgets it and, of rpc, its way back. */
static inline void fire_end_lane_(struct fire_end *e, struct fire_lane *l, fire_each each, void *user)
{
	struct fire_message m;
	memset(&m, 0, sizeof m);
	m.what = FIRE_IS_END;
	m.from = l;
	m.error = l->reader.error;
	m.number = l->reader.messages;
	m.state = l->reader.state;
	m.reason = l->reader.reason;
	each(user, &m);
	struct fire_lane *back = l->pair != 0 ? fire_lane_of_(e, l->pair, FIRE_WRITES) : NULL;
	if (back != NULL) {
		fire_say_(e, FIRE_TYPE_DETACH, back->link, NULL);
		fire_lane_close_(e, back);
	}
	fire_lane_close_(e, l);
}

/* fire_ring_poll hands over what all lanes have, most messages at most, fairly by lane, and
 * returns their number. A lane that ends is told (FIRE_IS_END) and forgotten. When the end is
 * refused and everything is read, it returns FIRE_REFUSED. It never waits. */
FIRE_RING_API int fire_ring_poll(struct fire_end *e, int most, fire_each each, void *user)
{
	unsigned lanes = e->lanes;
	int n = 0;
	if (lanes == 0)
		return e->refused ? FIRE_REFUSED : 0;
	int share = most / (int)lanes > 0 ? most / (int)lanes : 1;
	e->turn++;
	for (unsigned i = 0; i < lanes && n < most; i++) {
		struct fire_lane *l = e->in[(e->turn + i) % lanes];
		struct fire_told_ t = {each, user, l};
		int got = fire_reader_poll(&l->reader, share < most - n ? share : most - n, fire_tell_, &t);
		if (got < 0) { /* the places of the others change with it: they have their turn next time */
			fire_end_lane_(e, l, each, user);
			break;
		}
		n += got;
	}
	return n;
}

/* fire_ring_ready reports whether fire_ring_poll has something to say. */
FIRE_RING_API int fire_ring_ready(const struct fire_end *e)
{
	for (unsigned i = 0; i < e->lanes; i++)
		if (fire_reader_ready(&e->in[i]->reader))
			return 1;
	return e->lanes == 0 && e->refused;
}

/* fire_ring_wait serves the direct node and waits by the channel's strategy: 1 when
 * fire_ring_poll has something to say, 0 after one round. Without any lane it waits for one,
 * 100 ms at most. */
FIRE_RING_API int fire_ring_wait(struct fire_end *e)
{
	struct fire_strategy s = e->wait == FIRE_WAIT_SPIN ? FIRE_SPIN : e->wait == FIRE_WAIT_SPIN_YIELD ? FIRE_SPIN_YIELD : FIRE_ADAPTIVE;
	fire_ring_service(e);
	if (e->lanes == 0) {
		struct pollfd p = {e->sock, POLLIN, 0};
		if (!e->refused)
			poll(&p, 1, e->sock >= 0 ? 100 : (int)(FIRE_RETRY_NS / 1000000));
		fire_ring_service(e);
		return fire_ring_ready(e);
	}
	if (e->lanes == 1)
		return fire_reader_wait(&e->in[0]->reader, &s);
	for (unsigned i = 0; i < s.spins / e->lanes; i++)
		if (fire_ring_ready(e))
			return 1;
	for (unsigned i = 0; i < s.yields; i++) {
		sched_yield();
		if (fire_ring_ready(e))
			return 1;
	}
	if (s.sleep_ms > 0) /* a futex waits on one word: the other lanes are looked at soon */
		fire_reader_sleep_(&e->in[0]->reader, 1);
	return fire_ring_ready(e);
}

/* fire_ring_stat reads the counters of the end's lane at index i of lane[]. */
FIRE_RING_API int fire_ring_stat(const struct fire_end *e, int i, struct fire_stat *s)
{
	if (i < 0 || i >= FIRE_LANES_MAX || e->lane[i].way == 0)
		return FIRE_INVALID;
	if (e->lane[i].way == FIRE_WRITES)
		fire_writer_stat(&e->lane[i].writer, s);
	else
		fire_reader_stat(&e->lane[i].reader, s);
	return FIRE_OK;
}

#endif
