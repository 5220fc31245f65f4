//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
)

// File types in cpio's mode.
const (
	modeDir     = 0o040755
	modeProgram = 0o100755
	modeLink    = 0o120777
)

// initramfs is what a kernel unpacks and boots from: files by their paths.
type initramfs map[string]entry

type entry struct {
	mode    uint32
	content []byte // of a symbolic link where it leads
}

// file adds a file, and the directories above it.
func (fs initramfs) file(name string, content []byte) { fs.add(name, entry{modeProgram, content}) }

// link adds a symbolic link.
func (fs initramfs) link(name, to string) { fs.add(name, entry{modeLink, []byte(to)}) }

func (fs initramfs) add(name string, e entry) {
	fs[name] = e
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if _, ok := fs[dir]; !ok {
			fs[dir] = entry{mode: modeDir}
		}
	}
}

// write writes the archive, in the form "newc" of cpio, with parents before their
// children.
func (fs initramfs) write(to io.Writer) error {
	for i, name := range slices.Sorted(maps.Keys(fs)) {
		if err := record(to, i+1, name[1:], fs[name]); err != nil {
			return err
		}
	}
	return record(to, 0, "TRAILER!!!", entry{})
}

// record writes one file: a header of numbers in hexadecimal, its name, its
// content, each of them filled up to a multiple of four bytes.
func record(to io.Writer, inode int, name string, e entry) error {
	header := "070701"
	for _, n := range []int{inode, int(e.mode), 0, 0, 1, 0, len(e.content), 0, 0, 0, 0, len(name) + 1, 0} {
		header += fmt.Sprintf("%08X", n)
	}
	header += name + "\x00"
	for _, part := range [][]byte{[]byte(header), e.content} {
		if _, err := to.Write(part); err != nil {
			return err
		}
		if fill := -len(part) & 3; fill > 0 {
			if _, err := to.Write(make([]byte, fill)); err != nil {
				return err
			}
		}
	}
	return nil
}
