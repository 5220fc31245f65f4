package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// The schema of capture.json. A reader refuses another APIVersion.
const (
	APIVersion = "retina.sh/v1alpha1"
	Kind       = "CaptureRecord"
)

// RecordFile is the name of the Record in an archive, below its directory.
const RecordFile = "capture.json"

// maxRecordBytes bounds a Record that is read: the command's part, and a node's
// with as many interfaces and files as there can be.
const maxRecordBytes = 8 << 20

// A Record is capture.json: what was asked for and what came of it. One JSON
// object has the fields of both parts.
type Record struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	CommandPart
	NodePart
}

// CommandPart is what the command knows. Its JSON is the payload of wire.KindRecord.
type CommandPart struct {
	Name           string `json:"name"`              // of the capture
	Node           string `json:"node"`              // metadata.name
	Cluster        string `json:"cluster,omitempty"` // host of the API server, without scheme
	CommandVersion string `json:"commandVersion"`
	// Selection are the words of the command line that chose the targets: type/name
	// arguments and selector flags with their values.
	Selection []string `json:"selection,omitempty"`
	Targets   []Target `json:"targets"`
	Filter    string   `json:"filter,omitempty"` // of pcap-filter(7), in normal form
	SnapLen   uint32   `json:"snapLen"`          // bytes
	// HeadersOnly says that payloads were left on the node.
	HeadersOnly bool   `json:"headersOnly,omitempty"`
	Format      string `json:"format"` // "pcapng" or "pcap"
	Limits      Limits `json:"limits,omitzero"`
	// ClockCorrectionNS is what to add to the packets' timestamps, which are of the
	// node's clock, so that they are of the clock of the command's machine.
	ClockCorrectionNS int64 `json:"clockCorrectionNanoseconds,omitempty"`
}

// Limits are what ends the capture. A field that is 0 is no limit.
type Limits struct {
	Seconds   int64  `json:"seconds,omitempty"`
	Packets   uint64 `json:"packets,omitempty"`
	FileBytes int64  `json:"fileBytes,omitempty"`
	FileCount int    `json:"fileCount,omitempty"` // of a ring of files
}

// Target is a pod or node of the capture.
type Target struct {
	ID         uint32   `json:"id"`                  // wire.Target.ID
	Kind       string   `json:"kind"`                // "Pod" or "Node"
	Namespace  string   `json:"namespace,omitempty"` // of a pod
	Name       string   `json:"name"`
	UID        string   `json:"uid,omitempty"`
	IPs        []string `json:"ips,omitempty"`
	Owner      string   `json:"owner,omitempty"` // "deployment/web"
	Containers []string `json:"containers,omitempty"`
}

// Title is how the names of the target's interfaces begin: NAMESPACE/NAME of a
// pod, NAME of a node.
func (t Target) Title() string {
	if t.Namespace == "" {
		return t.Name
	}
	return t.Namespace + "/" + t.Name
}

// NodePart is what the collector knows.
type NodePart struct {
	CollectorVersion string    `json:"collectorVersion"`
	Kernel           string    `json:"kernel"` // uname -sr
	Arch             string    `json:"arch"`   // GOARCH
	Start            time.Time `json:"start"`  // by the node's clock
	End              time.Time `json:"end"`
	Reason           string    `json:"reason"` // why it ended, of the reasons of wire.End
	// Packets and Bytes (captured bytes) are in the files. The other counts are as
	// in wire.Status.
	Packets     uint64            `json:"packets"`
	Bytes       uint64            `json:"bytes"`
	Lost        uint64            `json:"lost"`
	Overwritten uint64            `json:"overwritten,omitempty"`
	Limited     uint64            `json:"limited,omitempty"`
	Interfaces  []InterfaceRecord `json:"interfaces"` // by ID, from 0
	Files       []FileRecord      `json:"files"`      // packet files, the oldest first
	Warnings    []string          `json:"warnings,omitempty"`
}

// InterfaceRecord is one interface and what was captured on it. Seen is the sum
// of Packets, Lost and what was overwritten or came after a limit.
type InterfaceRecord struct {
	ID       uint32 `json:"id"`     // in the packet files
	Target   uint32 `json:"target"` // Target.ID
	Name     string `json:"name"`   // within its network namespace
	LinkType uint16 `json:"linkType"`
	MAC      string `json:"mac,omitempty"`
	MTU      int    `json:"mtu,omitempty"` // bytes

	Packets   uint64 `json:"packets"` // in the files
	Seen      uint64 `json:"seen"`
	SeenBytes uint64 `json:"seenBytes"`
	Lost      uint64 `json:"lost"`
	Excluded  uint64 `json:"excluded,omitempty"` // as in wire.InterfaceStats
}

// FileRecord is one packet file.
type FileRecord struct {
	Name    string    `json:"name"` // below the archive's directory
	Bytes   int64     `json:"bytes"`
	SHA256  string    `json:"sha256"` // hexadecimal
	Packets uint64    `json:"packets"`
	First   time.Time `json:"first,omitzero"` // of the first packet in the file
	Last    time.Time `json:"last,omitzero"`  // the latest
}

// InterfaceTitle is the name that an interface has in a merged file: its target's
// Title, a slash and its own name.
func (r *Record) InterfaceTitle(i InterfaceRecord) string {
	for _, t := range r.Targets {
		if t.ID == i.Target {
			return t.Title() + "/" + i.Name
		}
	}
	return r.Node + "/" + i.Name
}

// Complete returns capture.json: the command's part with the node's added.
func Complete(command json.RawMessage, node NodePart) ([]byte, error) {
	record := Record{NodePart: node}
	if len(command) > 0 {
		if err := json.Unmarshal(command, &record.CommandPart); err != nil {
			return nil, fmt.Errorf("command's part of %s: %w", RecordFile, err)
		}
	}
	record.APIVersion, record.Kind = APIVersion, Kind
	b, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", RecordFile, err)
	}
	return append(b, '\n'), nil
}

// ParseRecord reads capture.json. Its files have clean names and no negative
// sizes, and its interfaces are numbered; texts are as they were found.
func ParseRecord(b []byte) (*Record, error) {
	if len(b) > maxRecordBytes {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", RecordFile, len(b), maxRecordBytes)
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", RecordFile, err)
	}
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", RecordFile, err)
	}
	return &r, nil
}

func (r *Record) validate() error {
	switch {
	case r.APIVersion != APIVersion || r.Kind != Kind:
		return fmt.Errorf("is %q %q, want %q %q", r.APIVersion, r.Kind, APIVersion, Kind)
	case r.Name == "" || r.Node == "":
		return errors.New("names no capture or no node")
	case r.Format != "pcapng" && r.Format != "pcap":
		return fmt.Errorf("unknown format %q", r.Format)
	case len(r.Files) > wire.MaxFileCount+1:
		return fmt.Errorf("has %d files, more than the limit of %d", len(r.Files), wire.MaxFileCount)
	}
	for n, i := range r.Interfaces {
		if i.ID != uint32(n) {
			return fmt.Errorf("interface %d is in the place of %d", i.ID, n)
		}
	}
	names := make(map[string]bool, len(r.Files))
	for _, f := range r.Files {
		if !isPacketFile(f.Name) || f.Bytes < 0 || len(f.SHA256) != 64 || names[f.Name] {
			return fmt.Errorf("file %q of %d bytes with checksum %q is none, or is named twice", f.Name, f.Bytes, f.SHA256)
		}
		names[f.Name] = true
	}
	return nil
}

// isPacketFile reports whether name, below the archive's directory, can be that of
// a packet file.
func isPacketFile(name string) bool {
	return fs.ValidPath(name) && !strings.ContainsAny(name, `/\`) &&
		(strings.HasSuffix(name, ".pcapng") || strings.HasSuffix(name, ".pcap"))
}
