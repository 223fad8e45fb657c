//go:build !linux

package runtimemetrics

// Without /proc the parsers have nothing to read.
const haveProc = false

const pageSize = 4096

func readFile(string, []byte) []byte { return nil }

type heldFile struct{}

func (*heldFile) read(string, []byte) []byte { return nil }

func (*heldFile) close() {}

func exists(string) bool { return false }

func descriptors(string) float64 { return unknown }

type threadDelays struct{}

func (*threadDelays) close() {}

func (*systemReader) threadDelay(float64) float64 { return unknown }
