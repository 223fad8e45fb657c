package span

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestEightDigitsAreDecodedAsOneByOne(t *testing.T) {
	check := func(s string) {
		t.Helper()
		var got, want [4]byte
		n, halves, tens := unhex8(binary.LittleEndian.Uint64([]byte(s)))
		binary.LittleEndian.PutUint32(got[:], n)
		ok := allHex(halves, tens)
		_, err := hex.Decode(want[:], []byte(s))
		if good := err == nil && s == strings.ToLower(s); ok != good || ok && got != want {
			t.Errorf("%q: decoded %x, %v; want %x, %v", s, got, ok, want, err == nil)
		}
	}
	for c := range 256 { // every byte at every place
		for i := range 8 {
			check("0123456a"[:i] + string([]byte{byte(c)}) + "0123456a"[i+1:])
			check("ffffffff"[:i] + string([]byte{byte(c)}) + "ffffffff"[i+1:])
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var b [4]byte
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		check(hex.EncodeToString(b[:]))
		check(strings.ToUpper(hex.EncodeToString(b[:])))
		var any [8]byte
		for i := range any {
			any[i] = byte(random.Uint32())
		}
		check(string(any[:]))
	}
}
