package manifest

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Capture is what one manifest says. Pointers and slices that are nil, and
// empty strings, are fields that it does not have.
type Capture struct {
	// Origin is where the manifest stands, for messages: "web.yaml, document 2".
	Origin string

	// Name is metadata.name. Without it there is GenerateName, the beginning of a
	// name that is still to be found.
	Name, GenerateName string
	Namespace          string // of PodNames, Pods and Arguments

	Target

	Duration       *time.Duration // >= 0; 0 is no limit
	MaxCaptureSize *int64         // MB of 1024*1024 bytes, >= 0; 0 is no limit
	PacketSize     *int64         // bytes, >= 0; 0 is all of a packet
	FileCount      *int64         // >= 1
	// IncludeMetadata is whether archives hold the state of nodes and cluster.
	IncludeMetadata *bool

	Filter
	Output

	// Ignored are the paths of fields that say something which has no meaning here,
	// in their order.
	Ignored []string
}

// Target is what to capture, in one way of four: Nodes; Namespaces and Pods;
// PodNames; Arguments. A selector that is there and empty selects everything.
type Target struct {
	Nodes *metav1.LabelSelector // whole nodes
	// Namespaces and Pods select pods. Without Namespaces they are those of the
	// Capture's namespace, without Pods all of the namespaces'.
	Namespaces, Pods *metav1.LabelSelector
	PodNames         []string
	Arguments        []string // TYPE/NAME
}

// Filter says which packets are captured. All of it must hold.
type Filter struct {
	Interfaces                []string
	PcapFilter, TcpdumpFilter string
	SourceIPs, DestinationIPs []string
	Include, Exclude          []string // IP:Port, IP, Port, *:Port, IP:*
}

// Output is where archives go. Empty: nowhere.
type Output struct {
	HostPath   string // relative
	Claim      string // a PersistentVolumeClaim
	BlobSecret string // a Secret with a container's URL
	S3         *S3
}

// S3 is a bucket. Only Bucket must be there.
type S3 struct {
	Bucket, Region, Endpoint, Path string
	Secret                         string // a Secret with the keys
}
