//go:build linux

package main

import (
	"bufio"
	"errors"
	"os"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// writeStreams writes the packets of one node twice: as a pcapng file, and as a
// collector's frames. There, among 64 packets, two neighbours are in disorder, as
// those of two CPUs may be.
func writeStreams(node int, size func(i int) uint32, file, stream string) (err error) {
	pcap, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pcap.Close()) }()
	frames, err := os.Create(stream)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, frames.Close()) }()
	sorted, toFrames := bufio.NewWriterSize(pcap, 1<<20), bufio.NewWriterSize(frames, 1<<20)
	w := wire.NewWriter(toFrames)
	header := pcapng.Interface{LinkType: wire.LinkTypeEthernet}.Append(pcapng.Section{}.Append(nil))
	if _, err := sorted.Write(header); err != nil {
		return err
	}
	payload := make([]byte, wire.PacketsHeaderLen)
	var block, held []byte
	data := make([]byte, 1514)
	at := int64(1_700_000_000_000_000_000) + int64(node)*97
	for i := range mergePackets {
		at += 1000
		block = pcapng.AppendEPB(block[:0], 0, at, size(i), size(i), 1, data)
		if _, err := sorted.Write(block); err != nil {
			return err
		}
		if i%64 == 62 {
			held = append(held[:0], block...)
			continue
		}
		payload = append(append(payload, block...), held...)
		held = held[:0]
		if len(payload) >= 256<<10 || i == mergePackets-1 {
			wire.PacketsHeader{CompleteNS: at, Seen: uint64(i + 1)}.Put(payload)
			if err := w.WriteFrame(wire.KindPackets, payload); err != nil {
				return err
			}
			payload = payload[:wire.PacketsHeaderLen]
		}
	}
	counts := []wire.InterfaceStats{{Seen: mergePackets, Captured: mergePackets}}
	return errors.Join(w.WriteEnd(wire.End{Reason: wire.EndStop, Interfaces: counts}), sorted.Flush(), toFrames.Flush())
}
