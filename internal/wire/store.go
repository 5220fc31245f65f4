package wire

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Limits of a StoreSpec.
const (
	MaxFileCount     = 1000
	MaxDestinations  = 8
	MaxHeadBytes     = 32 << 20
	MaxExtraBytes    = 50 << 20 // of all KindFile frames together
	MaxArchiveName   = 200      // bytes, so that ".partial" fits into a file name
	MaxHostPathKeep  = 100_000
	MaxStagingBytes  = 1 << 50    // means that there is no limit
	StagingDirectory = "/staging" // where a storing collector keeps its files
)

// Mount points of a storing collector's pod.
const (
	PVCMount  = "/mnt/pvc"
	HostMount = "/mnt/host"
)

// StoreSpec asks a collector to keep its packets in a file on the node, and to
// store them as an archive when the capture has ended. Nil in a Spec: packets go
// through the stream.
type StoreSpec struct {
	// Archive is the archive's name without ".tar.gz": NAME-NODE-TIME.
	Archive string `json:"archive"`
	// Format is "pcapng" or "pcap".
	Format string `json:"format"`
	// MaxSeconds ends the capture that long after go; 0: not.
	MaxSeconds int64 `json:"maxSeconds,omitempty"`
	// MaxFileBytes bounds one packet file. With FileCount 0 the capture ends
	// there, else the next file begins. 0: no limit.
	MaxFileBytes int64 `json:"maxFileBytes,omitempty"`
	// FileCount is how many packet files are kept, the youngest; 0: one, which is
	// not begun anew.
	FileCount int `json:"fileCount,omitempty"`
	// MaxPackets ends the capture after that many; 0: no limit.
	MaxPackets uint64 `json:"maxPackets,omitempty"`
	// StagingBytes is what all files of the collector together may take; it is
	// what the volume at StagingDirectory is limited to. 1..MaxStagingBytes.
	StagingBytes int64 `json:"stagingBytes"`
	// Metadata asks for the network state of the node and of the targets' network
	// namespaces, before and after the capture.
	Metadata bool `json:"metadata,omitempty"`
	// KeepSeconds is how long a collector waits for somebody to fetch what it could
	// not store, or was not told to; 0: not at all.
	KeepSeconds int64 `json:"keepSeconds,omitempty"`
	// Fetched says that the command will fetch the archive in any case, and that it
	// must be there until then.
	Fetched bool `json:"fetched,omitempty"`
	// Destinations are where the archive goes: to each of them. None: nowhere.
	Destinations []Destination `json:"destinations,omitempty"`
}

// A Destination is where an archive is stored: exactly one of its fields is set.
type Destination struct {
	Blob *BlobDestination `json:"blob,omitempty"`
	S3   *S3Destination   `json:"s3,omitempty"`
	Dir  *DirDestination  `json:"dir,omitempty"`
}

// BlobDestination is a container of Azure Blob Storage.
type BlobDestination struct {
	// URL is that of the container with its shared access signature.
	URL Secret `json:"url"`
}

// S3Destination is a bucket of a server that speaks S3.
type S3Destination struct {
	Endpoint        string `json:"endpoint,omitempty"` // URL; empty: AWS
	Region          string `json:"region"`
	Bucket          string `json:"bucket"`
	Path            string `json:"path,omitempty"` // prefix of the keys, without slashes at its ends
	AccessKeyID     Secret `json:"accessKeyID"`
	SecretAccessKey Secret `json:"secretAccessKey"`
	SessionToken    Secret `json:"sessionToken,omitempty"`
}

// DirDestination is a directory that is mounted into the collector.
type DirDestination struct {
	// Mount is PVCMount or HostMount.
	Mount string `json:"mount"`
	// Path is the directory below Mount, "" for Mount itself: relative, slashes,
	// no element that is "..".
	Path string `json:"path,omitempty"`
	// Name says where Mount comes from, for messages: "pvc captures" or
	// "host path /var/log/retina/captures".
	Name string `json:"name"`
	// Keep is how many archives of ours stay in the directory, the youngest; 0: all.
	Keep int `json:"keep,omitempty"`
}

var archiveName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

func (s *StoreSpec) validate() error {
	switch {
	case len(s.Archive) > MaxArchiveName || !archiveName.MatchString(s.Archive):
		return fmt.Errorf("archive name %q is not 1 to %d letters, digits, dots and dashes", s.Archive, MaxArchiveName)
	case s.Format != "pcapng" && s.Format != "pcap":
		return fmt.Errorf("unknown format %q", s.Format)
	case s.MaxSeconds < 0 || s.MaxFileBytes < 0 || s.KeepSeconds < 0:
		return errors.New("a limit of the stored capture is negative")
	case s.StagingBytes <= 0 || s.StagingBytes > MaxStagingBytes:
		return fmt.Errorf("staging of %d bytes is not between 1 and %d", s.StagingBytes, int64(MaxStagingBytes))
	case s.FileCount < 0 || s.FileCount > MaxFileCount:
		return fmt.Errorf("%d files, want 0 to %d", s.FileCount, MaxFileCount)
	case s.FileCount > 0 && s.MaxFileBytes == 0:
		return errors.New("a ring of files needs a size of each")
	case len(s.Destinations) > MaxDestinations:
		return fmt.Errorf("%d destinations, want at most %d", len(s.Destinations), MaxDestinations)
	}
	for i := range s.Destinations {
		if err := s.Destinations[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Destination) validate() error {
	set := 0
	if d.Blob != nil {
		set++
	}
	if d.S3 != nil {
		set++
	}
	if d.Dir != nil {
		set++
		if err := d.Dir.validate(); err != nil {
			return err
		}
	}
	if set != 1 {
		return fmt.Errorf("destination has %d places, want 1", set)
	}
	return nil
}

func (d *DirDestination) validate() error {
	if d.Mount != PVCMount && d.Mount != HostMount {
		return fmt.Errorf("destination is mounted at %q", d.Mount)
	}
	if strings.HasPrefix(d.Path, "/") || strings.Contains("/"+d.Path+"/", "/../") {
		return fmt.Errorf("destination %q leaves its directory", d.Path)
	}
	if d.Keep < 0 || d.Keep > MaxHostPathKeep {
		return fmt.Errorf("keeping %d archives is not possible, want 0 to %d", d.Keep, MaxHostPathKeep)
	}
	return nil
}

// FilesSpec asks a collector to serve the archives of one mounted directory,
// and to capture nothing.
type FilesSpec struct {
	Dir DirDestination `json:"dir"`
}

// A Phase is what a storing collector is doing.
type Phase string

// The phases, in order.
const (
	PhaseReady     Phase = "ready"     // attached, waits for go
	PhaseCapturing Phase = "capturing" // packets are written to the node's disk
	PhaseFinishing Phase = "finishing" // the capture has ended, the archive is completed
	PhaseStoring   Phase = "storing"   // the archive goes to its destinations
	PhaseKept      Phase = "kept"      // not every destination has it: it waits to be fetched
	PhaseDone      Phase = "done"      // nothing more happens
	PhaseFailed    Phase = "failed"    // see Status.Error
)

// Status is what a storing collector says of itself: every second, and whenever
// its phase changes. It is also, without the interfaces, the termination message
// of its container: at most 4096 bytes of JSON.
type Status struct {
	Phase   Phase  `json:"phase"`
	Archive string `json:"archive"` // as in StoreSpec
	// StartNS and EndNS are when the capture began and ended, ns since 1970; 0: not
	// yet.
	StartNS int64 `json:"startNS,omitempty"`
	EndNS   int64 `json:"endNS,omitempty"`
	// Reason is why the capture ended: one of the End reasons.
	Reason string `json:"reason,omitempty"`
	// Packets and Bytes (captured bytes) are in the files that are kept; Overwritten
	// packets were in older files of the ring; Lost ones are in no file although
	// they belong there. Limited ones came after a limit.
	Packets     uint64 `json:"packets"`
	Bytes       uint64 `json:"bytes"`
	Overwritten uint64 `json:"overwritten,omitempty"`
	Lost        uint64 `json:"lost"`
	Limited     uint64 `json:"limited,omitempty"`
	// StagedBytes is the size of the packet files.
	StagedBytes int64 `json:"stagedBytes"`
	// ArchiveBytes is the size of the archive, once that is known.
	ArchiveBytes int64 `json:"archiveBytes,omitempty"`
	// Stores are by StoreSpec.Destinations.
	Stores []StoreStatus `json:"stores,omitempty"`
	// Interfaces are the counts by interface; at the end only.
	Interfaces []InterfaceStats `json:"interfaces,omitempty"`
	// KeptUntilNS is when a collector that is kept ends itself.
	KeptUntilNS int64 `json:"keptUntilNS,omitempty"`
	// Warnings are for the user, a line each.
	Warnings []string `json:"warnings,omitempty"`
	// Error is why the phase is failed, one line; Hint is what to do about it.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// StoreStatus is how far one destination is.
type StoreStatus struct {
	// Where says which destination, without its secrets: "blob
	// https://account.blob.core.windows.net/container".
	Where string `json:"where"`
	// Name is what the archive is called there: a blob, an S3 key, a path.
	Name string `json:"name"`
	// Bytes have been handed to the destination; the whole archive when Done.
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256,omitempty"` // of the archive, hexadecimal; when Done
	Done   bool   `json:"done,omitempty"`
	// Error is why it failed for good, with the service's own code; Hint is what to
	// do about it.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Fetch asks for an archive from Offset on. The answer is KindData frames and a
// Fetched.
type Fetch struct {
	// Name is that of a file of a FilesSpec's directory; "" is the collector's own
	// archive.
	Name   string `json:"name,omitempty"`
	Offset int64  `json:"offset,omitempty"` // bytes
}

// Fetched ends the answer to a Fetch.
type Fetched struct {
	Bytes  int64  `json:"bytes"`  // size of the whole archive
	SHA256 string `json:"sha256"` // of the whole archive, hexadecimal
}

// ListFiles asks for the archives of a FilesSpec's directory whose names begin
// with Prefix. The answer is a Files.
type ListFiles struct {
	Prefix string `json:"prefix,omitempty"`
}

// Files is the answer to a ListFiles, sorted by name.
type Files struct {
	Files []File `json:"files"`
}

// A File is one archive in a directory.
type File struct {
	Name       string `json:"name"`
	Bytes      int64  `json:"bytes"`
	ModifiedNS int64  `json:"modifiedNS"` // ns since 1970
}

// DeleteFile asks to delete one archive of a FilesSpec's directory. The answer is
// a Deleted.
type DeleteFile struct {
	Name string `json:"name"`
}

// Deleted is the answer to a DeleteFile. One that was not there is no error.
type Deleted struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"`
}
