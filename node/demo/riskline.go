package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"fire/transport/fix"
)

// pendingMax is how many messages of one client may wait for risk.
const pendingMax = 4096

// groupsMax is how many questions may wait for a worker. It is small: while all
// workers are busy orders gather, and the next question asks about more of them, so
// that a slow risk gets larger questions instead of a longer queue.
const groupsMax = 4

// riskLines asks risk about orders, many at a time and many calls at once, and
// lets each client's messages go in the order in which they came.
//
//	message ─► line of its client ─► workers: one call for all that one read brought
//	                 │                          │ verdicts
//	                 └─◄── head of the line goes when its verdict is there
type riskLines struct {
	url     string
	client  *http.Client
	workers int
	work    chan []*pending
	release func(p *pending, text string) // text "": passed. Called in order, one at a time per client
	settled func()                        // after a batch of releases

	calls, failures atomic.Uint64

	mu    sync.Mutex
	lines []*line // guarded by mu
}

// pending is one message that waits.
type pending struct {
	line    *line
	raw     []byte // the whole message, a copy
	order   riskOrder
	decided bool
	text    string // why it was refused
}

// line is one client's messages in order.
type line struct {
	client string

	mu    sync.Mutex
	queue []*pending // guarded by mu
	spare []*pending // guarded by mu
	fresh []*pending // guarded by mu: not given to a worker yet
}

func newRiskLines(addr string, workers int, release func(*pending, string), settled func()) *riskLines {
	return &riskLines{url: "http://" + addr + "/v1/check", client: keepAlive(workers), workers: workers,
		work: make(chan []*pending, groupsMax), release: release, settled: settled}
}

// put adds a message to its client's line. A message that needs no verdict has
// order nil. It is false when the line is full.
func (l *riskLines) put(ln *line, m *fix.Message, order *riskOrder) bool {
	ln.mu.Lock()
	if len(ln.queue) >= pendingMax {
		ln.mu.Unlock()
		return false
	}
	var p *pending
	if n := len(ln.spare); n > 0 {
		p, ln.spare = ln.spare[n-1], ln.spare[:n-1]
	} else {
		p = &pending{line: ln}
	}
	p.raw, p.decided, p.text = append(p.raw[:0], m.Raw...), order == nil, ""
	if order != nil {
		p.order = *order
	}
	ln.queue = append(ln.queue, p)
	if order != nil {
		ln.fresh = append(ln.fresh, p)
	}
	alone := len(ln.queue) == 1
	ln.mu.Unlock()
	if order == nil && alone {
		l.advance(ln)
	}
	return true
}

// dispatch gives what has gathered to the workers, as much as they take.
func (l *riskLines) dispatch(ln *line) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	for len(ln.fresh) > 0 {
		n := min(len(ln.fresh), riskOrdersMax)
		select {
		case l.work <- slices.Clone(ln.fresh[:n]):
			ln.fresh = slices.Delete(ln.fresh, 0, n)
		default:
			return
		}
	}
}

// line makes a client's line.
func (l *riskLines) line(client string) *line {
	ln := &line{client: client}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, ln)
	return ln
}

// dispatchAll is for a worker that has become free.
func (l *riskLines) dispatchAll() {
	l.mu.Lock()
	lines := l.lines // only ever appended to
	l.mu.Unlock()
	for _, ln := range lines {
		l.dispatch(ln)
	}
}

// run asks until ctx ends. The gateway has logged its clients out by then.
func (l *riskLines) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range l.workers {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case group := <-l.work:
					l.dispatchAll() // there is room for one more
					l.ask(ctx, group)
				}
			}
		})
	}
	wg.Wait()
	l.client.CloseIdleConnections()
}

// ask makes one call for a batch, which is of one line, and releases what can go.
func (l *riskLines) ask(ctx context.Context, batch []*pending) {
	l.calls.Add(1)
	verdicts, err := l.call(ctx, batch)
	if err != nil {
		l.failures.Add(1)
	}
	ln := batch[0].line
	for i, p := range batch {
		switch {
		case err != nil:
			l.decide(p, "risk is unavailable: "+err.Error())
		case verdicts[i].Pass:
			l.decide(p, "")
		default:
			l.decide(p, "risk: "+verdicts[i].Why)
		}
	}
	l.advance(ln)
	l.settled()
}

func (l *riskLines) call(ctx context.Context, batch []*pending) ([]riskVerdict, error) {
	q := riskQuestion{Orders: make([]riskOrder, len(batch))}
	for i, p := range batch {
		q.Orders[i] = p.order
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	// A question is asked once: net/http repeats a POST only when not a byte of it
	// was written.
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, errors.New("no answer")
	}
	defer resp.Body.Close()
	defer io.Copy(io.Discard, io.LimitReader(resp.Body, bodyBytesMax))
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	var a riskAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, bodyBytesMax)).Decode(&a); err != nil || len(a.Verdicts) != len(batch) {
		return nil, errors.New("unreadable answer")
	}
	return a.Verdicts, nil
}

func (l *riskLines) decide(p *pending, text string) {
	p.line.mu.Lock()
	p.decided, p.text = true, text
	p.line.mu.Unlock()
}

// advance releases the decided head of a line. The line is held meanwhile: that
// keeps the order, and release only appends to sessions.
func (l *riskLines) advance(ln *line) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	n := 0
	for n < len(ln.queue) && ln.queue[n].decided {
		l.release(ln.queue[n], ln.queue[n].text)
		n++
	}
	ln.spare = append(ln.spare, ln.queue[:n]...)
	rest := copy(ln.queue, ln.queue[n:])
	clear(ln.queue[rest:])
	ln.queue = ln.queue[:rest]
}
