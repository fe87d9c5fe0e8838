package pki

import (
	"regexp"
	"testing"

	"fire/policy/id"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// lawful is our subset of SPIFFE ids, written a second time and another way.
var lawful = regexp.MustCompile(`\Aspiffe://[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/(node|svc|control)/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z`)

// FuzzParsePrincipalAgainstSpiffe holds policy/id to go-spiffe: what we accept it
// accepts and reads the same, and what only it accepts is outside our stated subset.
func FuzzParsePrincipalAgainstSpiffe(f *testing.F) {
	for _, s := range []string{
		"spiffe://eu.floor/svc/orders", "spiffe://eu.floor/node/h1", "spiffe://eu.floor/control/c1", "spiffe://eu.floor", "spiffe://eu.floor/",
		"spiffe://eu.floor/svc/orders/", "spiffe://eu.floor/svc//orders", "spiffe://eu.floor/svc/../x", "spiffe://eu.floor/svc/Orders", "spiffe://eu_x.floor/svc/a",
		"spiffe://EU.floor/svc/a", "SPIFFE://eu.floor/svc/a", "spiffe://eu.floor:8/svc/a", "spiffe://eu.floor/svc/a?b", "spiffe://eu.floor/svc/a#", "spiffe://eu.floor/svc/%61",
		"spiffe://a@eu.floor/svc/a", "spiffe://eu.floor/svc/a\x00", "spiffe://-a.b/svc/c", "spiffe://a..b/svc/c", "spiffe://a.b.c/svc/d",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ours, ourErr := id.ParsePrincipal(s)
		theirs, theirErr := spiffeid.FromString(s)
		switch {
		case (ourErr == nil) != lawful.MatchString(s):
			t.Fatalf("%q: parser says %v, the subset says %v", s, ourErr, lawful.MatchString(s))
		case ourErr != nil:
			return
		case theirErr != nil:
			t.Fatalf("%q: we accept %v, go-spiffe does not: %v", s, ours, theirErr)
		case theirs.String() != ours.String() || theirs.TrustDomain().Name() != ours.Domain.String() || theirs.Path() != "/"+ours.Kind.String()+"/"+ours.Name:
			t.Fatalf("%q: we read %v, go-spiffe reads %v", s, ours, theirs)
		}
	})
}
