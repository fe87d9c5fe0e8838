package bench

import "slices"

// GCEffect is what forced collections did while messages were sent at the rate.
type GCEffect struct {
	EveryNS     int64  `json:"every_ns"`
	Collections uint64 `json:"collections_total"` // of both processes
	TookP50NS   int64  `json:"collection_p50_ns"`
	TookMaxNS   int64  `json:"collection_max_ns"`
	// The worst message of each collection: from when it was due, at the reader; how late
	// it was sent, at the writer.
	WorstP50NS int64  `json:"worst_message_p50_ns"`
	WorstMaxNS int64  `json:"worst_message_max_ns"`
	Mallocs    uint64 `json:"mallocs_total"` // of both processes meanwhile, the collections' own among them

	took, worst []int64
}

func (g *GCEffect) add(took, worst []int64, mallocs uint64) {
	g.took, g.worst, g.Mallocs = append(g.took, took...), append(g.worst, worst...), g.Mallocs+mallocs
	g.Collections = uint64(len(g.took))
	g.TookP50NS, g.TookMaxNS = middleAndMost(g.took)
	g.WorstP50NS, g.WorstMaxNS = middleAndMost(g.worst)
}

func middleAndMost(all []int64) (middle, most int64) {
	if len(all) == 0 {
		return 0, 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2], s[len(s)-1]
}
