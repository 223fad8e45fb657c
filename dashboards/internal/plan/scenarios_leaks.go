package plan

func leakScenarios() []Scenario {
	kinds := func(counts map[string]string) []Input {
		var in []Input
		for _, kind := range []string{"goroutine", "heap", "file", "socket", "close_wait", "pipe", "descriptor"} {
			values, ok := counts[kind]
			if !ok {
				values = flat(0)
			}
			in = append(in, one(leakSuspects, values, `kind="`+kind+`"`)...)
		}
		return in
	}
	all := []string{"GoGoroutineLeak", "GoHeapLeak", "FileDescriptorLeak", "SocketsInCloseWait"}
	return []Scenario{
		{Name: "the leak watch finds nothing", At: "60m",
			Series: kinds(nil),
			Silent: all},
		{Name: "the leak watch finds goroutines", At: "60m",
			Series: together(kinds(map[string]string{"goroutine": "0x19 1x400"}), one(leakedGoroutines, "_x20 12+1x400", `site="shop.Serve (serve.go:7)"`)),
			Fires:  []string{"GoGoroutineLeak"}, Silent: []string{"GoHeapLeak", "FileDescriptorLeak", "SocketsInCloseWait"}},
		{Name: "a suspicion that is cleared at the next look", At: "22m",
			Series: together(kinds(map[string]string{"goroutine": "0x19 1x1 0x400", "heap": "0x19 1x1 0x400", "file": "0x19 1x1 0x400", "close_wait": "0x19 1x1 0x400"}),
				one(leakedGoroutines, "_x20 12x1 _x400", `site="shop.Serve (serve.go:7)"`)),
			Silent: all},
		{Name: "the leak watch finds a heap site", At: "60m",
			Series: kinds(map[string]string{"heap": "0x19 1x400"}),
			Fires:  []string{"GoHeapLeak"}, Silent: []string{"GoGoroutineLeak", "FileDescriptorLeak", "SocketsInCloseWait"}},
		{Name: "the leak watch finds files", At: "60m",
			Series: kinds(map[string]string{"file": "0x19 1x400"}),
			Fires:  []string{"FileDescriptorLeak"}, Silent: []string{"GoGoroutineLeak", "GoHeapLeak", "SocketsInCloseWait"}},
		{Name: "the leak watch finds connections to one peer", At: "60m",
			Series: kinds(map[string]string{"socket": "0x19 1x400"}),
			Fires:  []string{"FileDescriptorLeak"}, Silent: []string{"SocketsInCloseWait"}},
		{Name: "the leak watch finds connections that their peer has closed", At: "60m",
			Series: kinds(map[string]string{"close_wait": "0x19 1x400"}),
			Fires:  []string{"SocketsInCloseWait"}, Silent: []string{"GoGoroutineLeak", "GoHeapLeak", "FileDescriptorLeak"}},
		{Name: "the leak watch has just begun", At: "20m",
			Series: one(leakSuspects, "_x18 0x400", `kind="close_wait"`),
			Silent: all},
	}
}
