package reason

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"testing"
)

func TestEveryCodeHasOneRowThatHelps(t *testing.T) {
	names, numbers := map[string]bool{}, map[Code]bool{}
	snake := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	for i, row := range All() {
		if names[row.Name] || numbers[row.Code] {
			t.Errorf("%s (%d) stands twice", row.Name, row.Code)
		}
		names[row.Name], numbers[row.Code] = true, true
		if !snake.MatchString(row.Name) || row.Title == "" || row.Cause == "" || row.Fix == "" || row.Group == "" {
			t.Errorf("row %d is not whole: %+v", i, row)
		}
		if i > 0 && All()[i-1].Code >= row.Code {
			t.Errorf("%s is out of order", row.Name)
		}
		if c, ok := Parse(row.Name); !ok || c != row.Code {
			t.Errorf("Parse(%q) = %d, %v", row.Name, c, ok)
		}
	}
}

func TestUnknownNumberStaysReadable(t *testing.T) {
	c := Code(65000)
	if c.String() != "unknown_65000" {
		t.Fatalf("got %q", c)
	}
	if back, ok := Parse(c.String()); !ok || back != c {
		t.Fatalf("Parse gives %d, %v", back, ok)
	}
	for _, s := range []string{"unknown_100", "unknown_-1", "unknown_99999999", "unknown_", "x", "unknown_065000"} {
		if c, ok := Parse(s); ok {
			t.Errorf("Parse(%q) = %d; want none", s, c)
		}
	}
}

func TestOfFindsTheCodeThroughWraps(t *testing.T) {
	err := fmt.Errorf("dial: %w", New(PeerLost, "node h2: %w", io.EOF))
	if got := Of(err, OK); got != PeerLost {
		t.Fatalf("got %v", got)
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal("the cause is lost")
	}
	if got := Of(io.EOF, AppReset); got != AppReset {
		t.Fatalf("got %v", got)
	}
	if s := New(PeerLost, "node h2").Error(); s != "peer_lost: node h2" {
		t.Fatalf("got %q", s)
	}
}
