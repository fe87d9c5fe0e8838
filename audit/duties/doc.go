// Package duties owns what regulations ask of a trading floor's records, and what fire has for each:
// which entries, which command shows them, and what is not covered.
//
//	duty (SEC, FINRA, MiFID II, DORA, Reg SCI, GDPR, MAR) ─► asks ─► kinds of entries ─► commands
//	                                                           └──► what fire does not do
//
// It refuses to give legal advice: each row says what can be shown, not that it is enough.
//
// Invariants: every kind that a row names is one of audit/entry's, and every command one that the
// program has (tests, here and in node/cli); a row without a gap says "nothing known".
//
// Limits: the texts as of 2026-11; whoever relies on them reads the rule.
//
// Decision: a table in the program and not a page of its own, so that it is of the release that
// runs, and a test holds it against what that release does.
package duties
