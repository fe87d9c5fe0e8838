package shm

// storeRelease is a plain store, which x86 keeps behind all earlier ones. Go's compiler
// does so, too, though nobody has promised it: TestWriterStoppedAtAnyInstruction steps
// through what it has made. A function in assembly would force it and costs 3 ns a call;
// Go's atomic store is XCHG, which waits until all earlier stores have left the core.
func storeRelease(p *uint64, v uint64) { *p = v }

// loadFence keeps earlier loads before later ones: x86 does by itself.
func loadFence() {}

// storeFence keeps earlier stores before later ones: x86 does by itself.
func storeFence() {}
