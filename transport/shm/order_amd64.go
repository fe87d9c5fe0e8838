package shm

// storeRelease is a plain store, which x86 keeps behind all earlier ones. It is
// assembly, so that the compiler does, too.
//
//go:noescape
func storeRelease(p *uint64, v uint64)

// loadFence keeps earlier loads before later ones: x86 does by itself.
func loadFence() {}

// storeFence keeps earlier stores before later ones: x86 does by itself.
func storeFence() {}
