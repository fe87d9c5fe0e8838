// A module of its own, so that go-disruptor is no dependency of fire.
module disruptor

go 1.26

require github.com/smarty/go-disruptor v0.5.0
