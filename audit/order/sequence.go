package order

import (
	"container/heap"
	"slices"
)

// uncertainMax is with how many earlier messages one is compared.
const uncertainMax = 16

// sequence puts messages in the order in which they were sent. A log that has one of them before
// another one was sent there is proof; between logs the clocks decide, within their bounds.
func sequence(all []*transmission) []*transmission {
	followers, waits := edges(all)
	ready := &queue{}
	for i, t := range all {
		if waits[i] == 0 {
			heap.Push(ready, item{t, i})
		}
	}
	out, done := make([]*transmission, 0, len(all)), make([]bool, len(all))
	for len(out) < len(all) {
		if ready.Len() == 0 { // logs contradict each other: then the clocks decide
			for i, t := range all {
				if !done[i] && waits[i] > 0 {
					waits[i] = 0
					heap.Push(ready, item{t, i})
					break
				}
			}
		}
		next := heap.Pop(ready).(item)
		done[next.at] = true
		out = append(out, next.t)
		for _, i := range followers[next.at] {
			if waits[i] > 0 {
				if waits[i]--; waits[i] == 0 {
					heap.Push(ready, item{all[i], i})
				}
			}
		}
	}
	return out
}

// edges go from each message that a log has to the next one that was sent there. all is in order
// of time.
func edges(all []*transmission) (followers [][]int, waits []int) {
	type entryOf struct {
		message int
		s       *sighting
	}
	logs := map[string][]entryOf{}
	for i, t := range all {
		for _, s := range t.seen {
			logs[s.origin] = append(logs[s.origin], entryOf{i, s})
		}
	}
	followers, waits = make([][]int, len(all)), make([]int, len(all))
	for _, log := range logs {
		slices.SortFunc(log, func(a, b entryOf) int { return a.s.before(b.s) })
		var since []int
		for _, e := range log {
			if all[e.message].first() == e.s {
				for _, i := range since {
					if i != e.message {
						followers[i] = append(followers[i], e.message)
						waits[e.message]++
					}
				}
				since = since[:0]
			}
			since = append(since, e.message)
		}
	}
	return followers, waits
}

// proven says whether a log has a before b was sent there.
func proven(a, b *transmission) bool {
	sent := b.first()
	for _, s := range a.seen {
		if s.origin == sent.origin && s.index < sent.index {
			return true
		}
	}
	return false
}

// uncertain are the messages before i whose order to it nothing proves: the clocks' bounds
// overlap, and no log has both.
func uncertain(sent []*transmission, i int) []int {
	var out []int
	for j := max(0, i-uncertainMax); j < i; j++ {
		a, b := sent[j], sent[i]
		if !proven(a, b) && !a.first().span().certainlyBefore(b.first().span()) {
			out = append(out, j)
		}
	}
	return out
}

type item struct {
	t  *transmission
	at int
}

// queue gives the earliest first.
type queue []item

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(item)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}
