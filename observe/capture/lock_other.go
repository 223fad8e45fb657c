//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package capture

import (
	"errors"
	"os"
)

// Nor can, on Windows, a file be renamed that is open, or a directory that holds one.
const lockable = false

// lock cannot tell here whether another process uses f: what is torn is then
// known by its age alone.
func lock(*os.File) error { return errors.ErrUnsupported }
