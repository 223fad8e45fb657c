//go:build !linux

package main

func remote()   {}
func ordinary() {}
