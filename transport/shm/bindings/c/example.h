/* example.h - what publisher.c and subscriber.c share: flags, and a JSON string. */
#ifndef FIRE_EXAMPLE_H
#define FIRE_EXAMPLE_H

#include "fire_ring.h"

#include <signal.h>
#include <stdlib.h>

struct flags {
	const char *socket, *channel, *service;
	uint64_t count; /* 0: until the channel is shut, or a signal */
	size_t bytes;
	uint64_t rate;    /* messages a second, 0: as many as go */
	uint64_t readers; /* publisher: wait for so many first */
	int each;         /* subscriber: a line for each message */
};

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static void usage(const char *program)
{
	fprintf(stderr,
	        "%s --socket PATH --channel NAME [--service NAME] [--count N] [--bytes N] [--rate N] [--readers N] [--each]\n"
	        "prints one JSON object a line\n",
	        program);
	exit(2);
}

static void read_flags(struct flags *f, int argc, char **argv)
{
	memset(f, 0, sizeof *f);
	f->socket = getenv("FIRE_DIRECT");
	f->bytes = 48;
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
		if (!strcmp(name, "--each")) {
			f->each = 1;
			continue;
		}
		if (value == NULL)
			usage(argv[0]);
		i++;
		if (!strcmp(name, "--socket"))
			f->socket = value;
		else if (!strcmp(name, "--channel"))
			f->channel = value;
		else if (!strcmp(name, "--service"))
			f->service = value;
		else if (!strcmp(name, "--count"))
			f->count = strtoull(value, NULL, 10);
		else if (!strcmp(name, "--bytes"))
			f->bytes = strtoull(value, NULL, 10);
		else if (!strcmp(name, "--rate"))
			f->rate = strtoull(value, NULL, 10);
		else if (!strcmp(name, "--readers"))
			f->readers = strtoull(value, NULL, 10);
		else
			usage(argv[0]);
	}
	if (f->socket == NULL || f->channel == NULL || f->bytes > FIRE_MESSAGE_MAX)
		usage(argv[0]);
	struct sigaction on;
	memset(&on, 0, sizeof on);
	on.sa_handler = stop;
	sigaction(SIGINT, &on, NULL);
	sigaction(SIGTERM, &on, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

/* quoted is s as a JSON string, in one of four buffers. */
static const char *quoted(const char *s)
{
	static char room[4][8 * FIRE_TEXT_MAX];
	static int turn;
	char *b = room[turn++ % 4], *p = b;
	*p++ = '"';
	for (; *s != 0; s++) {
		if (*s == '"' || *s == '\\')
			p += sprintf(p, "\\%c", *s);
		else if ((unsigned char)*s < ' ')
			p += sprintf(p, "\\u%04x", (unsigned char)*s);
		else
			*p++ = *s;
	}
	*p++ = '"';
	*p = 0;
	return b;
}

static inline uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* attach attaches or says why not. */
static int attach(struct fire_end *e, const struct flags *f, int side)
{
	int err = fire_ring_attach(e, f->socket, f->channel, f->service, side);
	if (err == FIRE_REFUSED)
		printf("{\"event\": \"refused\",\"reason\":%u,\"text\":%s}\n", e->reason, quoted(e->text));
	else if (err != FIRE_OK)
		printf("{\"event\": \"failed\",\"code\":%d,\"text\":%s}\n", err, quoted(fire_ring_error(err)));
	else
		printf("{\"event\": \"attached\",\"channel\":%s,\"service\":%s,\"kind\":%d,\"wait\":%d}\n", quoted(e->channel), quoted(e->service),
		       e->kind, e->wait);
	return err;
}

#endif
