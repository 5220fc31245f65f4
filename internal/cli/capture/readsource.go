package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint/capturefile"
)

// Where a tar archive says that it is one (POSIX.1-2017, pax, ustar format).
const (
	tarMagicAt = 257
	tarMagic   = "ustar"
	headBytes  = 4 << 10 // compressed bytes that have it
)

// open prints what the input is: a file, a compressed file or an archive.
func (r *captureReader) open() error {
	magic, _ := r.in.Peek(2) // shorter: it is no file either
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return r.file(r.in)
	}
	if r.isArchive() {
		return r.archive()
	}
	unpacked, err := gzip.NewReader(r.in)
	if err != nil {
		return fmt.Errorf("gzip: %w", err)
	}
	return r.file(unpacked)
}

// isArchive looks into the compressed bytes without taking them. The first block
// of a tar archive is in the first few.
func (r *captureReader) isArchive() bool {
	packed, _ := r.in.Peek(headBytes) // or what there is
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return false
	}
	head := make([]byte, tarMagicAt+len(tarMagic))
	_, err = io.ReadFull(unpacked, head)
	return err == nil && string(head[tarMagicAt:]) == tarMagic
}

// archive prints the packet files of a node's archive one after the other.
func (r *captureReader) archive() error {
	reader, err := archive.NewReader(r.in)
	if err != nil {
		return err
	}
	r.begun, r.record = true, reader.Record()
	r.offset = time.Duration(r.record.ClockCorrectionNS)
	for {
		entry, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry.Packets == nil {
			continue
		}
		if err := r.file(entry); err != nil {
			if errors.Is(err, errReadEnough) || errors.Is(err, errReadStopped) {
				return err
			}
			return fmt.Errorf("%s: %w", entry.Name, err)
		}
	}
}

// describe is an interface as the printer wants it.
func (r *captureReader) describe(i *capturefile.Interface) packetprint.Interface {
	described := packetprint.Interface{Name: i.Name, LinkType: i.LinkType}
	described.Node, described.Pod = r.names.of(i)
	if r.record != nil && i.Name == "" { // a pcap file of an archive
		described.Node, described.Name = r.record.Node, r.record.Node+"/any"
		if len(r.record.Interfaces) == 1 {
			described.Name = r.record.InterfaceTitle(r.record.Interfaces[0])
			if targets := r.record.Targets; len(targets) > 0 && targets[0].Namespace != "" {
				described.Pod = targets[0].Title()
			}
		}
	}
	return described
}

// cutLast is strings.Cut at the last dot.
func cutLast(text string) (before, after string, found bool) {
	if i := strings.LastIndexByte(text, '.'); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, "", false
}
