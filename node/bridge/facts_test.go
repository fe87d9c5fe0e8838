package bridge

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHostThatAsksAndLeavesIsToldInBounds has one host make facts as fast as it can beside one
// that makes few: the trail has a bounded number, and what is left out is counted exactly.
func TestHostThatAsksAndLeavesIsToldInBounds(t *testing.T) {
	f := facts{hosts: map[string]*telling{}}
	now, told := time.Unix(1, 0), map[string]int{}
	const seconds, each = 60, 1000
	for range seconds {
		for k := range each {
			now = now.Add(time.Second / each)
			kind := "opened"
			if k%2 > 0 {
				kind = "closed"
			}
			if f.allow("loud", kind, now) {
				told[kind]++
			}
		}
		if f.allow("loud", "lost", now) {
			told["lost"]++
		}
		if f.allow("quiet", "opened", now) {
			told["quiet"]++
		}
	}
	if most := factsBurst + (seconds+1)*factsPerSecond; told["opened"]+told["closed"] > most {
		t.Errorf("%v were told, at most %d should be", told, most)
	}
	if told["lost"] != seconds || told["quiet"] != seconds {
		t.Errorf("noise hides what is grave, or what another host does: %v", told)
	}
	rest := f.take(now)
	if len(rest) != 1 || rest[0].Node != "loud" {
		t.Fatalf("%+v", rest)
	}
	want := fmt.Sprintf("%d opened, %d closed", seconds*each/2-told["opened"], seconds*each/2-told["closed"])
	if !strings.HasSuffix(rest[0].Detail, want) {
		t.Errorf("%q, want %s", rest[0].Detail, want)
	}
	if again := f.take(now); len(again) != 0 {
		t.Errorf("told twice: %+v", again)
	}
}

func TestHostsThatAreKnownAreBounded(t *testing.T) {
	f := facts{hosts: map[string]*telling{}}
	now := time.Unix(1, 0)
	for k := range factsHostsMax + 100 {
		f.allow(fmt.Sprint("h", k), "opened", now.Add(time.Duration(k)))
	}
	if len(f.hosts) > factsHostsMax {
		t.Error(len(f.hosts))
	}
}
