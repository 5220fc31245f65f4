package manifest

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// document is a manifest as it is written. A field with the tag retina:"ignored"
// has no meaning here; its value's type is checked like any other's.
type document struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       *spec    `json:"spec,omitempty"`
	Status     any      `json:"status,omitempty" retina:"ignored"`
}

// metadata is an object's, with what an API server adds, which says nothing about
// the capture.
type metadata struct {
	Name         string            `json:"name,omitempty"`
	GenerateName string            `json:"generateName,omitempty"`
	Namespace    string            `json:"namespace,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`

	CreationTimestamp          any `json:"creationTimestamp,omitempty"`
	DeletionGracePeriodSeconds any `json:"deletionGracePeriodSeconds,omitempty"`
	DeletionTimestamp          any `json:"deletionTimestamp,omitempty"`
	Finalizers                 any `json:"finalizers,omitempty"`
	Generation                 any `json:"generation,omitempty"`
	ManagedFields              any `json:"managedFields,omitempty"`
	OwnerReferences            any `json:"ownerReferences,omitempty"`
	ResourceVersion            any `json:"resourceVersion,omitempty"`
	SelfLink                   any `json:"selfLink,omitempty"`
	UID                        any `json:"uid,omitempty"`
}

type spec struct {
	CaptureConfiguration *captureConfiguration `json:"captureConfiguration,omitempty"`
	OutputConfiguration  *outputConfiguration  `json:"outputConfiguration,omitempty"`
	CleanUpAfterUpload   bool                  `json:"cleanUpAfterUpload,omitempty" retina:"ignored"`
}

type captureConfiguration struct {
	CaptureTarget   captureTarget `json:"captureTarget"`
	CaptureOption   captureOption `json:"captureOption"`
	Filters         *filters      `json:"filters,omitempty"`
	TcpdumpFilter   string        `json:"tcpdumpFilter,omitempty"`
	IncludeMetadata *bool         `json:"includeMetadata,omitempty"`
}

type captureTarget struct {
	NodeSelector      *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	PodSelector       *metav1.LabelSelector `json:"podSelector,omitempty"`
	PodNames          []string              `json:"podNames,omitempty"`
}

type captureOption struct {
	Duration       *string  `json:"duration,omitempty"`
	MaxCaptureSize *int64   `json:"maxCaptureSize,omitempty"`
	PacketSize     *int64   `json:"packetSize,omitempty"`
	FileCount      *int64   `json:"fileCount,omitempty"`
	Interfaces     []string `json:"interfaces,omitempty"`
	PcapFilter     string   `json:"pcapFilter,omitempty"`
	SourceIPs      []string `json:"sourceIPs,omitempty"`
	DestinationIPs []string `json:"destinationIPs,omitempty"`

	// How tcpdump takes packets, and how it would print what is written to a file.
	NoPromiscuous      bool   `json:"noPromiscuous,omitempty" retina:"ignored"`
	PacketBuffered     bool   `json:"packetBuffered,omitempty" retina:"ignored"`
	ImmediateMode      bool   `json:"immediateMode,omitempty" retina:"ignored"`
	NoResolveDNS       bool   `json:"noResolveDNS,omitempty" retina:"ignored"`
	NoResolvePort      bool   `json:"noResolvePort,omitempty" retina:"ignored"`
	PrintLinkHeader    bool   `json:"printLinkHeader,omitempty" retina:"ignored"`
	QuietOutput        bool   `json:"quietOutput,omitempty" retina:"ignored"`
	AbsoluteSeq        bool   `json:"absoluteSeq,omitempty" retina:"ignored"`
	DontVerifyChecksum bool   `json:"dontVerifyChecksum,omitempty" retina:"ignored"`
	Verbosity          string `json:"verbosity,omitempty" retina:"ignored"`
	PrintDataFormat    string `json:"printDataFormat,omitempty" retina:"ignored"`
	TimestampFormat    string `json:"timestampFormat,omitempty" retina:"ignored"`
}

type filters struct {
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
}

type outputConfiguration struct {
	HostPath              *string `json:"hostPath,omitempty"`
	PersistentVolumeClaim *string `json:"persistentVolumeClaim,omitempty"`
	BlobUpload            *string `json:"blobUpload,omitempty"`
	S3Upload              *s3     `json:"s3Upload,omitempty"`
}

type s3 struct {
	Bucket     string `json:"bucket,omitempty"`
	Endpoint   string `json:"endpoint,omitempty"`
	Region     string `json:"region,omitempty"`
	Path       string `json:"path,omitempty"`
	SecretName string `json:"secretName,omitempty"`
}
