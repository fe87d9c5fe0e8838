package agent

import (
	"encoding/json"
	"testing"
	"time"

	"fire/node/catalog"
	"fire/policy/pki"
)

func FuzzRecord(f *testing.F) {
	a, err := pki.OpenAuthority(f.TempDir()+"/ca", eu, time.Now)
	must(f, err)
	good, err := json.Marshal(record{Format: recordFormat, Node: "h1", Domain: eu, Controls: []string{"c1:7400"}, Bundle: a.Bundle()})
	must(f, err)
	f.Add(good)
	alone, err := json.Marshal(record{Format: recordFormat, Node: "h1", Domain: eu, Bundle: a.Bundle()})
	must(f, err)
	f.Add(alone) // nobody to link to
	f.Add([]byte(`{"format":"fire.agent/v1","node":"h1","domain":"eu.floor","bundle":{"domain":"eu.floor","roots":["AA=="]}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := decodeRecord(data); err == nil && (r.Domain != r.Bundle.Domain || r.Bundle.Check() != nil || len(r.Controls) == 0) {
			t.Fatalf("took %+v", r)
		}
	})
}

// FuzzCopy alters a signed copy: nothing but the signed state may come out.
func FuzzCopy(f *testing.F) {
	a, err := pki.OpenAuthority(f.TempDir()+"/ca", eu, time.Now)
	must(f, err)
	state := &catalog.State{Domain: eu, Version: 7, Services: map[string]catalog.Service{"orders": placed("h1")}, Bundle: a.Bundle()}
	good, err := json.Marshal(catalog.Sign(state, time.Unix(1_800_000_000, 0), a.SignHead))
	must(f, err)
	if _, err := openCopy(good, a.Bundle()); err != nil {
		f.Fatal(err)
	}
	want := state.Digest()
	f.Add(good)
	f.Add([]byte(`{"state":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := openCopy(data, a.Bundle()); err == nil && h.view.State.Digest() != want {
			t.Fatal("took a state that was never signed")
		}
	})
}
