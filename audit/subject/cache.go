package subject

// cacheMax bounds the keys that are kept ready, in each of two generations.
const cacheMax = 4096

// cache keeps the keys that were used last: when the young generation is full it becomes the
// old one, and what was not used meanwhile is forgotten. The store's lock guards it.
type cache[K comparable] struct {
	young, old map[K]*key
}

// put keeps a key.
func (c *cache[K]) put(k K, v *key) {
	if len(c.young) >= cacheMax {
		c.young, c.old = nil, c.young
	}
	if c.young == nil {
		c.young = make(map[K]*key)
	}
	c.young[k] = v
}

// drop forgets an erased subject.
func (c *cache[K]) drop(id ID) {
	for _, m := range []map[K]*key{c.young, c.old} {
		for k, v := range m {
			if v.id == id {
				delete(m, k)
			}
		}
	}
}
