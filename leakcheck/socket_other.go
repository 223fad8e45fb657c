//go:build !linux

package leakcheck

func readSocket(int) (socket, bool)      { return socket{}, false }
func tcpState(int) (state byte, ok bool) { return 0, false }
