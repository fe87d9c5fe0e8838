/* publisher.c - publishes numbered messages on a channel.
 *
 *   cc -std=c11 -O2 -o publisher publisher.c
 *   ./publisher --socket /run/fire/attach --channel md-nyse --count 1000000 --bytes 48
 */
#include "fire_ring.h"

#include "example.h"

/* pause_until serves the direct node until a time comes. */
static void pause_until(struct fire_end *e, uint64_t when_ns)
{
	while (!stopped && now_ns() < when_ns) {
		fire_ring_service(e);
		sched_yield();
	}
}

int main(int argc, char **argv)
{
	static struct fire_end e; /* large: it holds all lanes */
	static unsigned char message[FIRE_MESSAGE_MAX];
	struct flags f;
	read_flags(&f, argc, argv);
	if (attach(&e, &f, FIRE_PUBLISH) != FIRE_OK)
		return 1;
	while (!stopped && (uint64_t)fire_ring_readers(&e) < f.readers && fire_ring_service(&e) != FIRE_REFUSED)
		sched_yield();
	uint64_t sent = 0, full = 0, begun = now_ns();
	int code = FIRE_SENT;
	while (!stopped && (f.count == 0 || sent < f.count)) {
		if ((sent + full) % 64 == 0)
			fire_ring_service(&e); /* lets readers come and go */
		if (f.rate > 0)
			pause_until(&e, begun + (uint64_t)((double)sent * 1e9 / (double)f.rate));
		if (f.bytes >= sizeof sent)
			memcpy(message, &sent, sizeof sent);
		code = fire_ring_offer(&e, 1, message, f.bytes);
		if (code == FIRE_SENT) {
			sent++;
		} else if (code == FIRE_FULL) {
			full++;
			sched_yield();
		} else {
			break;
		}
	}
	if (code == FIRE_SHUT) {
		uint32_t reason;
		int state = fire_writer_state(fire_ring_writer(&e), &reason);
		fire_ring_service(&e); /* the reason's words, if they are here already */
		printf("{\"event\": \"shut\",\"state\":%d,\"reason\":%u,\"text\":%s}\n", state, reason, quoted(e.text));
	} else if (code != FIRE_SENT && code != FIRE_FULL) {
		printf("{\"event\": \"failed\",\"code\":%d,\"text\":%s}\n", code, quoted(fire_ring_error(code)));
	}
	printf("{\"event\": \"done\",\"messages\":%llu,\"full\":%llu,\"losses\":%u}\n", (unsigned long long)sent, (unsigned long long)full, e.losses);
	fire_ring_detach(&e);
	return 0;
}
