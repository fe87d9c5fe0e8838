//go:build !linux

package check

// AskKernel has nobody to ask.
func AskKernel() Features { return Features{} }
