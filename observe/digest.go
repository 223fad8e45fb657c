package observe

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
)

// digest is a short name for the effective configuration: the same in every
// process that has the same, whatever its functions and loggers are.
func (c Config) digest() string {
	c.AdminToken = "" // not even a hash of it goes into a bundle
	h := sha256.New()
	digestValue(h, reflect.ValueOf(c), 0)
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// digestValue writes what can be compared between two processes: of functions
// and what interfaces hold only whether they are set.
func digestValue(w io.Writer, v reflect.Value, depth int) {
	if depth > 8 { // nothing of a Config is so deep but a structure that leads back to itself
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fmt.Fprintf(w, "%s{", v.Type().Field(i).Name)
			digestValue(w, v.Field(i), depth+1)
			io.WriteString(w, "}")
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			digestValue(w, v.Index(i), depth+1)
			io.WriteString(w, ",")
		}
	case reflect.Map:
		entries := map[string]reflect.Value{}
		for k, e := range v.Seq2() {
			entries[fmt.Sprint(k)] = e
		}
		for _, k := range slices.Sorted(maps.Keys(entries)) {
			fmt.Fprintf(w, "%q:", k)
			digestValue(w, entries[k], depth+1)
		}
	case reflect.Pointer, reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
		fmt.Fprintf(w, "%t", !v.IsNil())
	default:
		fmt.Fprintf(w, "%#v", v)
	}
}
