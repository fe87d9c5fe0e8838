package policy

import "math/bits"

// set is an immutable sparse set of rule numbers. Only words that hold a rule are
// stored; a summary bit per word says which those are.
//
//	sum    1 bit per word of 64 rules
//	rank   how many words are stored before each summary word
//	words  the non-zero words, packed
type set struct {
	sum   []uint64
	rank  []uint32
	words []uint64
}

// word returns rules 64w to 64w+63.
func (s *set) word(w int) uint64 {
	sum := s.sum[w>>6]
	bit := uint64(1) << (w & 63)
	if sum&bit == 0 {
		return 0
	}
	return s.words[int(s.rank[w>>6])+bits.OnesCount64(sum&(bit-1))]
}

// setOf packs rule numbers, which must be ascending and below rules. Repeats are fine.
func setOf(rules int, numbers []int) set {
	words := (rules + 63) / 64
	sums := (words + 63) / 64
	s := set{sum: make([]uint64, sums), rank: make([]uint32, sums)}
	last := -1
	for _, n := range numbers {
		if w := n / 64; w != last {
			s.words = append(s.words, 0)
			s.sum[w/64] |= 1 << (w % 64)
			last = w
		}
		s.words[len(s.words)-1] |= 1 << (n % 64)
	}
	stored := 0
	for i, sum := range s.sum {
		s.rank[i] = uint32(stored)
		stored += bits.OnesCount64(sum)
	}
	return s
}
