//go:build !linux

package leakcheck

func readSocket(int) (socket, bool)      { return socket{}, false }
func tcpState(int) (state byte, ok bool) { return 0, false }

func tcpUse(int) (state byte, bytes int64, ok bool) { return 0, -1, false }

func splices(int) bool { return false }

func splicesShow() bool { return false }
