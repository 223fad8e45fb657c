//go:build !go1.27

package observe

import "database/sql/driver"

func scanned(r *rows) driver.Rows { return r }
