package id

import (
	"strings"
	"testing"
)

func TestParsePrincipalAcceptsOnlyTheOneShape(t *testing.T) {
	good := map[string]Principal{
		"spiffe://eu.floor/node/h1":          {Domain{"eu", "floor"}, KindNode, "h1"},
		"spiffe://eu.floor/svc/order-router": {Domain{"eu", "floor"}, KindService, "order-router"},
		"spiffe://us.floor/control/c1":       {Domain{"us", "floor"}, KindControl, "c1"},
	}
	for in, want := range good {
		got, err := ParsePrincipal(in)
		if err != nil || got != want {
			t.Errorf("ParsePrincipal(%q) = %v, %v; want %v", in, got, err, want)
		}
		if got.String() != in {
			t.Errorf("%q prints as %q", in, got.String())
		}
	}
	bad := []string{
		"", "eu.floor/svc/a", "spiffe://", "spiffe://eu.floor", "spiffe://eu.floor/", "spiffe://eu.floor/svc",
		"spiffe://eu.floor/svc/", "spiffe://eu.floor/svc/a/", "spiffe://eu.floor/svc/a/b", "spiffe://eu.floor//svc/a",
		"spiffe://eu.floor/svc/../a", "spiffe://eu.floor/svc/.", "spiffe://EU.floor/svc/a", "SPIFFE://eu.floor/svc/a",
		"spiffe://eu.floor:1/svc/a", "spiffe://u@eu.floor/svc/a", "spiffe://eu.floor/svc/a?x", "spiffe://eu.floor/svc/a#x",
		"spiffe://eu.floor/svc/%61", "spiffe://eu/svc/a", "spiffe://eu.floor.x/svc/a", "spiffe://eu.floor/pod/a",
		"spiffe://eu.floor/svc/-a", "spiffe://eu.floor/svc/a-", "spiffe://eu.floor/svc/a\x00", " spiffe://eu.floor/svc/a",
		"spiffe://eu.floor/svc/" + strings.Repeat("a", NameMaxBytes+1), "spiffe://eu.floor/svc/" + strings.Repeat("a", URIMaxBytes),
	}
	for _, in := range bad {
		if got, err := ParsePrincipal(in); err == nil {
			t.Errorf("ParsePrincipal(%q) = %v; want an error", in, got)
		}
	}
}

func TestTextRoundTripKeepsZeroEmpty(t *testing.T) {
	var p Principal
	if b, err := p.MarshalText(); err != nil || len(b) != 0 {
		t.Fatalf("zero principal marshals to %q, %v", b, err)
	}
	if err := p.UnmarshalText(nil); err != nil || p != (Principal{}) {
		t.Fatalf("empty text unmarshals to %v, %v", p, err)
	}
	if err := p.UnmarshalText([]byte("spiffe://eu.floor/svc/a")); err != nil || p.Short() != "svc/a" {
		t.Fatalf("got %v, %v", p, err)
	}
	if err := p.UnmarshalText([]byte("nonsense")); err == nil || p.Short() != "svc/a" {
		t.Fatalf("a bad text must fail and leave the value alone: %v, %v", p, err)
	}
}

func FuzzParsePrincipal(f *testing.F) {
	f.Add("spiffe://eu.floor/svc/orders")
	f.Add("spiffe://eu.floor/svc/../orders")
	f.Add("spiffe://a.b/node/0")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePrincipal(s)
		if err != nil {
			if p != (Principal{}) {
				t.Fatalf("error with a non-zero principal: %v", p)
			}
			return
		}
		if p.String() != s {
			t.Fatalf("%q parses, but prints as %q", s, p.String())
		}
	})
}

func FuzzParseDomain(f *testing.F) {
	f.Add("eu.floor")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDomain(s); err == nil && d.String() != s {
			t.Fatalf("%q parses, but prints as %q", s, d.String())
		}
	})
}
