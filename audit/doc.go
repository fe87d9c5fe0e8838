// Package audit owns a node's audit log: one ordered, contiguous sequence of entries that nobody
// can change, cut or reorder without its being found.
package audit
