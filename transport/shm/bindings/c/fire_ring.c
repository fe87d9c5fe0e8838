/* fire_ring.c - fire_ring.h as a shared object, for languages that call C: see ../python.
 *
 *   cc -std=c11 -O2 -shared -fPIC -o libfire_ring.so fire_ring.c
 */
#define FIRE_RING_API
#include "fire_ring.h"

/* What a caller that does not know the structs has to ask for. */
size_t fire_size_of_writer(void);
size_t fire_size_of_reader(void);
size_t fire_size_of_end(void);
const char *fire_ring_why(const struct fire_end *e, uint32_t *reason);
const char *fire_ring_service_name(const struct fire_end *e);
const char *fire_lane_service(const struct fire_lane *l);

size_t fire_size_of_writer(void) { return sizeof(struct fire_writer); }
size_t fire_size_of_reader(void) { return sizeof(struct fire_reader); }
size_t fire_size_of_end(void) { return sizeof(struct fire_end); }

/* fire_ring_why is why a direct node has refused the end. */
const char *fire_ring_why(const struct fire_end *e, uint32_t *reason)
{
	*reason = e->reason;
	return e->text;
}

const char *fire_ring_service_name(const struct fire_end *e) { return e->service; }
const char *fire_lane_service(const struct fire_lane *l) { return l->service; }
