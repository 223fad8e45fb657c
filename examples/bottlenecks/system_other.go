//go:build !unix

package main

import "errors"

type slowFile struct{}

const noSlowFiles = "it needs a Unix pipe"

func newSlowFile() (slowFile, error) { return slowFile{}, errors.New(noSlowFiles) }
func (slowFile) Read() error         { return nil }
func (slowFile) Write() error        { return nil }
func (slowFile) Close()              {}

func offHeap(int) ([]byte, error) { return nil, errors.New("it needs mmap") }
func freeOffHeap([]byte)          {}
