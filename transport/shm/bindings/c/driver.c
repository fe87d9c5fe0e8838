/* driver.c - does with one ring what the lines of its standard input say, and answers each
 * with one line. The tests of transport/shm drive every binding with the same lines.
 *
 *   w open DATA GATE | w add CURSOR LINK | w remove LINK | w offer TYPE BYTES SEED
 *   w claim BYTES | w commit TYPE BYTES SEED | w abort | w pump COUNT MOST | w flood MS
 *   r open DATA CURSOR GATE | r poll MOST | r next | r drain COUNT MOST | r endure MS
 *   w stat | r stat | w close | r close       ("late" is a second reader, like r)
 */
#include "fire_ring.h"

#include <stdarg.h>
#include <stdlib.h>

static struct fire_writer writer;
static struct fire_reader readers[2];
static unsigned char copy[FIRE_MESSAGE_MAX], payload[FIRE_MESSAGE_MAX + 1];
static char answer[1 << 16];

static void say(const char *format, ...)
{
	size_t n = strlen(answer);
	va_list args;
	va_start(args, format);
	if (n > 0)
		n += (size_t)snprintf(answer + n, sizeof answer - n, ", ");
	vsnprintf(answer + n, sizeof answer - n, format, args);
	va_end(args);
}

static void fill(unsigned char *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)(seed * 31 + i * 7);
}

static unsigned hash(const unsigned char *p, size_t n)
{
	unsigned h = 2166136261u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 16777619u;
	return h;
}

/* Message k of a pump: 8 to most bytes, which follow from k. */
static size_t numbered(unsigned char *p, uint64_t k, size_t most)
{
	size_t n = 8 + k * 37 % (most - 7);
	memcpy(p, &k, 8);
	for (size_t i = 8; i < n; i++)
		p[i] = (unsigned char)(k + i);
	return n;
}

static void result(int code)
{
	const char *const words[] = {"sent", "full", "too long", "shut"};
	if (code <= 0 && code > -4)
		say("%s", words[-code]);
	else
		say("error %d", code);
}

static void opened(int code)
{
	if (code == FIRE_OK)
		say("ok");
	else
		say("error %d", code);
}

static void each(void *user, const struct fire_message *m)
{
	(void)user;
	if (m->what == FIRE_IS_GAP)
		say("gap %llu %llu", (unsigned long long)m->number, (unsigned long long)m->last);
	else
		say("message %u %u %08x", m->type, m->bytes, hash(m->p, m->bytes));
}

static void polled(const struct fire_reader *r, int code)
{
	if (code == FIRE_SHUT)
		say("shut %u %u", r->state, r->reason);
	else if (code == FIRE_CORRUPT)
		say("corrupt");
	else if (answer[0] == 0)
		say("nothing");
}

static int descriptor(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#define EXCHANGE_WITHIN_NS 20000000000u

struct drained {
	uint64_t next, messages, lost;
	size_t most;
	int wrong;
};

static void drained(void *user, const struct fire_message *m)
{
	struct drained *d = user;
	uint64_t k = 0;
	if (m->what == FIRE_IS_GAP) {
		d->wrong |= m->number != d->next;
		d->lost += m->last - m->number + 1;
		d->next = m->last + 1;
		return;
	}
	if (m->bytes >= 8)
		memcpy(&k, m->p, 8);
	d->wrong |= m->bytes < 8 || k != d->next || numbered(payload, k, d->most) != m->bytes || memcmp(payload, m->p, m->bytes) != 0;
	d->messages++;
	d->next++;
}

static void drain(struct fire_reader *r, uint64_t count, size_t most)
{
	struct drained d = {r->messages, 0, 0, most, 0};
	uint64_t end = now_ns() + EXCHANGE_WITHIN_NS;
	int code = 0;
	while (d.next < count && code >= 0 && !d.wrong && now_ns() < end) {
		code = fire_reader_poll(r, 64, drained, &d);
		if (code == 0 && d.next < count)
			fire_reader_wait(r, &FIRE_ADAPTIVE);
	}
	say("drained %llu lost %llu wrong %d code %d", (unsigned long long)d.messages, (unsigned long long)d.lost, d.wrong, code < 0 ? code : 0);
}

static void pump(uint64_t count, size_t most)
{
	uint64_t end = now_ns() + EXCHANGE_WITHIN_NS;
	for (uint64_t k = 0; k < count;) {
		int code = fire_writer_offer(&writer, (uint16_t)k, payload, numbered(payload, k, most));
		if (code == FIRE_SENT) {
			k++;
		} else if (code != FIRE_FULL || now_ns() > end) {
			result(code);
			return;
		} else {
			sched_yield();
		}
	}
	say("pumped");
}

static void touch(void *user, const struct fire_message *m)
{
	uint64_t *n = user;
	*n += m->what == FIRE_IS_MESSAGE && hash(m->p, m->bytes) != 1;
}

/* endure reads from a writer that scribbles over its ring, and goes on after each error. */
static void endure(struct fire_reader *r, uint64_t ms)
{
	uint64_t end = now_ns() + ms * 1000000, n = 0;
	while (now_ns() < end) {
		if (fire_reader_poll(r, 10, touch, &n) < 0 && r->error == FIRE_CORRUPT) {
			r->error = FIRE_OK;
			memcpy(&r->pos, r->ring.memory.at + FIRE_OFF_WRITTEN + 40, sizeof r->pos);
		}
		fire_reader_ready(r);
	}
	say("endured");
}

/* flood writes beside a reader that scribbles over its cursor. */
static void flood(uint64_t ms)
{
	uint64_t end = now_ns() + ms * 1000000, n = 0;
	while (now_ns() < end)
		n += fire_writer_offer(&writer, 1, payload, n % 300) == FIRE_SENT;
	say("flooded");
}

static void stat_line(const struct fire_stat *s)
{
	say("%s %u state %u %u lines %llu epoch %llu messages %llu bytes %llu full %llu bells %llu padding %llu position %llu read %llu %llu "
	    "laps %llu lost %llu waits %llu lag %llu",
	    s->name, s->discipline, s->state, s->reason, (unsigned long long)s->lines, (unsigned long long)s->epoch,
	    (unsigned long long)s->messages, (unsigned long long)s->bytes, (unsigned long long)s->full, (unsigned long long)s->bells,
	    (unsigned long long)s->padding, (unsigned long long)s->position, (unsigned long long)s->read, (unsigned long long)s->read_bytes,
	    (unsigned long long)s->laps, (unsigned long long)s->lost, (unsigned long long)s->waits, (unsigned long long)s->lag_lines);
}

static void write_side(const char *verb, char **arg, const uint64_t *n)
{
	static void *claim;
	struct fire_stat s;
	if (!strcmp(verb, "open")) {
		int data = descriptor(arg[0]), gate = descriptor(arg[1]);
		opened(fire_writer_open(&writer, data, gate));
		close(data);
		close(gate);
	} else if (!strcmp(verb, "add")) {
		int cursor = descriptor(arg[0]);
		opened(fire_writer_add(&writer, cursor, n[1], "reader"));
		close(cursor);
	} else if (!strcmp(verb, "remove")) {
		fire_writer_remove(&writer, n[0]);
		say("ok");
	} else if (!strcmp(verb, "offer")) {
		fill(payload, n[1], (unsigned)n[2]);
		result(fire_writer_offer(&writer, (uint16_t)n[0], payload, n[1]));
	} else if (!strcmp(verb, "claim")) {
		result(fire_writer_claim(&writer, n[0], &claim));
	} else if (!strcmp(verb, "commit")) {
		fill(claim, n[1], (unsigned)n[2]);
		result(fire_writer_commit(&writer, (uint16_t)n[0], n[1]));
	} else if (!strcmp(verb, "abort")) {
		fire_writer_abort(&writer);
		say("ok");
	} else if (!strcmp(verb, "pump")) {
		pump(n[0], n[1]);
	} else if (!strcmp(verb, "flood")) {
		flood(n[0]);
	} else if (!strcmp(verb, "stat")) {
		fire_writer_stat(&writer, &s);
		stat_line(&s);
	} else if (!strcmp(verb, "close")) {
		fire_writer_close(&writer);
		say("ok");
	}
}

static void read_side(struct fire_reader *r, const char *verb, char **arg, const uint64_t *n)
{
	struct fire_stat s;
	struct fire_message m;
	if (!strcmp(verb, "open")) {
		int data = descriptor(arg[0]), cursor = descriptor(arg[1]), gate = descriptor(arg[2]);
		opened(fire_reader_open(r, data, cursor, gate, copy));
		close(data);
		close(cursor);
		close(gate);
	} else if (!strcmp(verb, "poll")) {
		polled(r, fire_reader_poll(r, (int)n[0], each, NULL));
	} else if (!strcmp(verb, "next")) {
		int code = fire_reader_next(r, &m);
		if (code == 1)
			each(NULL, &m);
		polled(r, code);
	} else if (!strcmp(verb, "drain")) {
		drain(r, n[0], n[1]);
	} else if (!strcmp(verb, "endure")) {
		endure(r, n[0]);
	} else if (!strcmp(verb, "stat")) {
		fire_reader_stat(r, &s);
		stat_line(&s);
	} else if (!strcmp(verb, "close")) {
		fire_reader_close(r);
		say("ok");
	}
}

int main(void)
{
	char line[1024];
	while (fgets(line, sizeof line, stdin) != NULL) {
		char *arg[8] = {0};
		uint64_t n[8] = {0};
		int k = 0;
		for (char *word = strtok(line, " \n"); word != NULL && k < 8; word = strtok(NULL, " \n"))
			arg[k++] = word;
		for (int i = 2; i < k; i++)
			n[i - 2] = strtoull(arg[i], NULL, 10);
		answer[0] = 0;
		if (k >= 2 && !strcmp(arg[0], "w"))
			write_side(arg[1], arg + 2, n);
		else if (k >= 2)
			read_side(&readers[!strcmp(arg[0], "late")], arg[1], arg + 2, n);
		puts(answer[0] != 0 ? answer : "what?");
		fflush(stdout);
	}
	return 0;
}
