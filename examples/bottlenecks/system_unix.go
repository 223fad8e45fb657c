//go:build unix

package main

import "syscall"

// A slowFile is one whose reads block a thread, as those of a file on a network
// file system do: the runtime cannot wait for them beside others.
type slowFile struct{ read, write int }

func newSlowFile() (slowFile, error) {
	var p [2]int
	err := syscall.Pipe(p[:])
	return slowFile{p[0], p[1]}, err
}

// Read blocks in the kernel until a byte was written.
func (f slowFile) Read() error {
	var b [1]byte
	_, err := syscall.Read(f.read, b[:])
	return err
}

func (f slowFile) Write() error {
	_, err := syscall.Write(f.write, []byte{1})
	return err
}

func (f slowFile) Close() {
	syscall.Close(f.read)
	syscall.Close(f.write)
}

const noSlowFiles = ""

// offHeap is memory that the garbage collector knows nothing of, as that of a C
// library is; it is in use, not only reserved.
func offHeap(size int) ([]byte, error) {
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return b, err
}

func freeOffHeap(b []byte) { syscall.Munmap(b) }
