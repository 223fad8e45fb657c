package leakcheck

import (
	"bufio"
	"io"
	"os"
	"strings"
)

// fewFiles is how many files there may be without a look at the mappings; so
// few are no suspects anyway.
const fewFiles = 8

// maxMaps bounds what is read of the mappings: the kernel allows 65,530 by
// default, of some hundred bytes each.
const maxMaps = 16 << 20

// unmapped returns the files that are not mapped into memory, of one path as
// many as are open beyond its mappings. A store that maps its segments keeps
// their descriptors, and has more of them the more it stores.
func unmapped(files []*handle) []*handle {
	if len(files) < fewFiles {
		return files
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return files
	}
	defer f.Close()
	mappings := parseMaps(io.LimitReader(f, maxMaps))
	kept := files[:0]
	for _, h := range files {
		if mappings[h.path] > 0 {
			mappings[h.path]--
			continue
		}
		kept = append(kept, h)
	}
	return kept
}

// parseMaps counts the mappings of each file:
//
//	7f1c2a000000-7f1c2a021000 r--s 00000000 fe:01 12345    /data/segment-7
func parseMaps(r io.Reader) map[string]int {
	all := map[string]int{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		i := strings.IndexByte(lines.Text(), '/')
		if i < 0 {
			continue
		}
		path := strings.TrimSuffix(lines.Text()[i:], deletedSuffix)
		all[strings.ReplaceAll(path, `\012`, "\n")]++ // the only character that is escaped
	}
	return all
}
