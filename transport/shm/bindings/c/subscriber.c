/* subscriber.c - reads a channel, and checks the numbers that publisher.c writes.
 *
 *   cc -std=c11 -O2 -o subscriber subscriber.c
 *   ./subscriber --socket /run/fire/attach --channel md-nyse --count 1000000
 */
#include "fire_ring.h"

#include "example.h"

struct seen {
	uint64_t messages, bytes, lost, wrong;
	uint64_t next[FIRE_LANES_MAX]; /* 1 + the number that a lane's next message carries; 0: any */
	const struct fire_end *end;
	int each;
};

static void on(void *user, const struct fire_message *m)
{
	struct seen *s = user;
	uint64_t *next = &s->next[m->from - s->end->lane], k;
	if (m->what == FIRE_IS_GAP) {
		s->lost += m->last - m->number + 1;
		*next = *next != 0 ? *next + (m->last - m->number + 1) : 0;
		printf("{\"event\": \"gap\",\"service\":%s,\"first\":%llu,\"last\":%llu}\n", quoted(m->from->service), (unsigned long long)m->number,
		       (unsigned long long)m->last);
		return;
	}
	if (m->what == FIRE_IS_END) {
		*next = 0;
		printf("{\"event\": \"ended\",\"service\":%s,\"code\":%d,\"state\":%u,\"reason\":%u}\n", quoted(m->from->service), m->error, m->state,
		       m->reason);
		return;
	}
	s->messages++;
	s->bytes += m->bytes;
	if (m->bytes >= sizeof k) {
		memcpy(&k, m->p, sizeof k);
		s->wrong += *next != 0 && *next != k + 1;
		*next = k + 2;
	}
	if (s->each)
		printf("{\"event\": \"message\",\"service\":%s,\"type\":%u,\"bytes\":%u}\n", quoted(m->from->service), m->type, m->bytes);
}

int main(int argc, char **argv)
{
	static struct fire_end e;
	struct flags f;
	read_flags(&f, argc, argv);
	if (attach(&e, &f, FIRE_SUBSCRIBE) != FIRE_OK)
		return 1;
	struct seen s = {.end = &e, .each = f.each};
	uint64_t told = 0, begun = now_ns();
	int code = 0;
	while (!stopped && code >= 0 && (f.count == 0 || s.messages + s.lost < f.count)) {
		code = fire_ring_poll(&e, 256, on, &s);
		if (code <= 0)
			fire_ring_wait(&e);
		else if (s.messages / 1024 != told / 1024)
			fire_ring_service(&e); /* also while there is always something to read */
		told = s.messages;
	}
	if (code == FIRE_REFUSED)
		printf("{\"event\": \"refused\",\"reason\":%u,\"text\":%s}\n", e.reason, quoted(e.text));
	printf("{\"event\": \"done\",\"messages\":%llu,\"bytes\":%llu,\"lost\":%llu,\"wrong\":%llu,\"losses\":%u,\"ms\":%llu}\n",
	       (unsigned long long)s.messages, (unsigned long long)s.bytes, (unsigned long long)s.lost, (unsigned long long)s.wrong, e.losses,
	       (unsigned long long)((now_ns() - begun) / 1000000));
	fire_ring_detach(&e);
	return 0;
}
