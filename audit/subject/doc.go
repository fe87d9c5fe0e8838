// Package subject owns the keys of the persons behind personal values: what the audit log holds of a
// person is sealed under a key of that person's own, and erasing the person is destroying that key.
// The log's entries, whose hashes are leaves of its tree, stay as they are.
//
//	name (an account) ─ HMAC ─► record ─► id, key ── Seal ──► sealed value in an entry, with the id
//	                              │ key sealed under store.key
//	        folder: store.key · subjects ◄── Erase: record, overwrite, write anew ──► entry Erased
//
// It refuses to keep a name, to give a subject's key to anybody, to erase what a hold covers, and to open
// a folder or file that others may read.
//
// # The folder
//
// store.key (mode 0600, made on the first start) is the root: whoever has it and the file has all that is not
// erased. subjects is append-only, 128 bytes for each subject (record.go): a random id, the first half of
// HMAC-SHA256 of the name, the key sealed with AES-256-GCM. Without store.key it shows how many subjects
// there are and since when, and no name. A file that is left without store.key is not opened, and no new key
// is made for it.
//
// # Erasure
//
//  1. a record "erased, id" is added, flush: from here on it is final
//  2. memory forgets the key; Seal under the same name makes a new id with a new key
//  3. the key's record is overwritten where it lies, flush
//  4. the file is written anew without it, flush, renamed, flush of the folder
//
// A crash after 1 is brought to its end by the next OpenStore. The record of an erased subject has its id and the
// time alone: Open then says ErrErased and not ErrUnknown.
//
// What this reaches: the folder, and every copy of it that is made afterwards. What it does not reach: copies and
// backups that were made before, which need an expiry of their own; blocks that a file system or a disk keeps when it
// writes elsewhere (copy on write, snapshots, wear levelling), for which the disk must be encrypted; round keys in
// the memory of the process, which Go does not let be cleared, until it ends; a value that was being sealed
// while its subject was erased, which nobody can read.
//
// Retention: statutory retention can block erasure until it ends (GDPR Art. 17(3)(b); 17a-4, RTS 6 and the like), and so does
// a legal hold. Whoever wires the store gives Held, which is asked before step 1; while it says so Erase is refused
// with ErrHeld. This package knows no periods.
//
// # Invariants
//
//   - A key is safe on disk before the first value is sealed under it.
//   - An id is drawn once and never given again; an erased one stays erased.
//   - A nonce is never used twice under one key (key.go).
//   - A bit that was changed anywhere in the file is found when it is opened; an end that was torn by a crash is cut
//     off only where nobody was told of it.
//   - Seal and Open of a key in the cache do no I/O, and Seal does not allocate but for room in dst.
//   - After a failed flush nothing more is written until the process is started again; what was safe is still opened.
//
// Lock order: the turn (a channel of one: whoever writes to the folder), then mu. mu is never held across I/O, and
// readers take mu alone.
//
// Limits: SubjectsMax subjects with those erased, about 100 bytes of memory and 128 of disk each; 8,192 keys in the
// cache; names of 1 to 256 bytes. Erase writes the whole file, and a new name waits meanwhile; known ones do not.
// Copying a running process with its memory (a snapshot of a virtual machine that runs twice) repeats nonces.
//
// # Decisions
//
//   - One file and not one for each subject: a million small files cost an inode, a flush of the folder and a walk each.
//   - No database: the records are of one size, and to overwrite one where it lies is the point.
//   - Nonces are 64 random bits and a counter; random ones of 96 bits run out for busy accounts, and a counter alone
//     repeats when an older copy of the folder is put back.
//   - The erased id is kept and not the erased name: that would tell who was erased.
//   - Ids are random and not derived from the name: derived, the same person would get the same id again.
package subject
