package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// journal records what the parts do, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, " ")
}

func (j *journal) part(name string, after func(context.Context) error) part {
	return part{name: name, stopWithin: time.Second, run: func(ctx context.Context) error {
		err := after(ctx)
		j.add(name)
		return err
	}}
}

func untilTold(ctx context.Context) error { <-ctx.Done(); return nil }

func TestPartsStopInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		slow := func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(500 * time.Millisecond)
			return nil
		}
		err := runParts(ctx, slog.New(slog.DiscardHandler),
			[]part{j.part("a", untilTold), j.part("b", slow), j.part("c", slow)}, cancel)
		if err != nil || j.String() != "c b a" {
			t.Fatalf("stopped as %q, err %v", j.String(), err)
		}
	})
}

func TestAnyPartsDeathStopsTheRest(t *testing.T) {
	boom := errors.New("boom")
	for dead := range 3 {
		t.Run(fmt.Sprint(dead), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				parts := []part{j.part("a", untilTold), j.part("b", untilTold), j.part("c", untilTold)}
				parts[dead] = j.part(parts[dead].name, func(context.Context) error {
					time.Sleep(time.Second)
					return boom
				})
				err := runParts(t.Context(), slog.New(slog.DiscardHandler), parts, func() {})
				if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), parts[dead].name+":") {
					t.Fatalf("err %v", err)
				}
				if got := len(strings.Fields(j.String())); got != 3 {
					t.Fatalf("%d parts ended: %s", got, j.String())
				}
			})
		})
	}
}

func TestHangingPartIsNamedAndLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		err := runParts(ctx, slog.New(slog.DiscardHandler), []part{
			j.part("a", untilTold),
			j.part("stuck", func(context.Context) error { <-release; return nil }),
		}, cancel)
		close(release)
		if err == nil || !strings.Contains(err.Error(), "stuck: did not stop within 1s") {
			t.Fatalf("err %v", err)
		}
		if !strings.Contains(j.String(), "a") {
			t.Fatal("the part before the one that hangs was not stopped")
		}
	})
}

func TestPartThatEndsByItselfIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := runParts(t.Context(), slog.New(slog.DiscardHandler), []part{
			{name: "quitter", stopWithin: time.Second, run: func(context.Context) error { return nil }},
		}, func() {})
		if err == nil || !strings.Contains(err.Error(), "quitter: ended by itself") {
			t.Fatalf("err %v", err)
		}
	})
}
