/* echo.c - serves an rpc channel: answers each message with the same bytes and type + 1.
 *
 *   cc -std=c11 -O2 -o echo echo.c
 *   ./echo --socket /run/fire/attach --channel quotes --service pricer
 */
#include "fire_ring.h"

#include "example.h"

struct served {
	struct fire_end *end;
	uint64_t answers, unanswered, callers;
};

static void on(void *user, const struct fire_message *m)
{
	struct served *s = user;
	if (m->what == FIRE_IS_END) {
		s->callers++;
		printf("{\"event\": \"ended\",\"service\":%s,\"state\":%u,\"reason\":%u}\n", quoted(m->from->service), m->state, m->reason);
		return;
	}
	/* A caller that does not read its answers loses them: nobody waits for it here. */
	struct fire_writer *back = fire_ring_pair(s->end, m->from);
	if (back != NULL && fire_writer_offer(back, (uint16_t)(m->type + 1), m->p, m->bytes) == FIRE_SENT)
		s->answers++;
	else
		s->unanswered++;
}

int main(int argc, char **argv)
{
	static struct fire_end e;
	struct flags f;
	read_flags(&f, argc, argv);
	if (attach(&e, &f, FIRE_SUBSCRIBE) != FIRE_OK)
		return 1;
	struct served s = {.end = &e};
	int code = 0;
	while (!stopped && code >= 0) {
		code = fire_ring_poll(&e, 256, on, &s);
		if (code <= 0)
			fire_ring_wait(&e);
	}
	printf("{\"event\": \"done\",\"answers\":%llu,\"unanswered\":%llu,\"callers\":%llu}\n", (unsigned long long)s.answers,
	       (unsigned long long)s.unanswered, (unsigned long long)s.callers);
	fire_ring_detach(&e);
	return 0;
}
