package shm

// storeRelease is STLR.
//
//go:noescape
func storeRelease(p *uint64, v uint64)

// loadFence is DMB ISHLD.
func loadFence()

// storeFence is DMB ISHST.
func storeFence()
