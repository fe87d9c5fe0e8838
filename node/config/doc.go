// Package config owns mesh.toml: it turns one TOML file into the Config structs
// of the rooms, or into all that is wrong with it.
//
//	mesh.toml ──► TOML library ──► tree ──► decode by toml tags ──► Check of each room ──► Config
//	    │                                        │                        │
//	    └──────► locate: where each key stands ──┴── Problems: file:line:column, line, caret, hint
//
//	field comments of the rooms ──go generate──► fields.json ──► docs, schema, reload class
//	                                   └───────► mesh.toml.example
//
// It refuses unknown keys, keys in another case, integers where a duration is
// meant, arrays of tables, values of another type and secrets in the open; it
// reports everything at once and never shows a secret's text. It opens no socket
// and changes no file: a room decides what its values mean.
//
// Invariants: a Config that came from Parse passed every room's Check; every
// effective value has an origin; Digest depends on effective values alone; a key's
// documentation, default and reload class come from the struct that holds it.
//
// Limits: FileBytesMax, KeysMax, ProblemsMax, names of 63 bytes.
//
// Decisions. The TOML library parses and we decode its tree: its own decoder stops
// at the first error, takes keys in any case and integers as nanoseconds, and tells
// no position of an unknown key. Positions come from a small locator that is fuzzed
// against the library; decoding again for each key (a reflect.StructOf probe) gives
// the same places in quadratic time. Tables are named ([service.orders]), since the
// library keeps one position for all elements of an array of tables. There is no
// text substitution and no variable of the environment that overrides a key: what the
// file says is what runs, and a secret is only ever named. The environment decides one
// default alone, where an unset state folder lies.
//
// After changing a field or its comment run: go generate ./node/config
package config

//go:generate go test -run ^TestGeneratedFilesAreFresh$ -count=1 . -update
