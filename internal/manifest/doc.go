// Package manifest reads and writes the Capture manifests of Retina,
// apiVersion retina.sh/v1alpha1, without a cluster that knows the kind.
//
// [Parse] is strict: a field that does not exist, has the wrong type or says
// what cannot be is an error that names the field's path. What exists and has
// no meaning here is in [Capture].Ignored.
package manifest

// Version and kinds of the manifests.
const (
	APIVersion = "retina.sh/v1alpha1"
	Kind       = "Capture"
	listKind   = "CaptureList"
)

// AnnotationArguments holds targets as the command line names them, TYPE/NAME,
// with blanks between them: of these a Capture can name pods only. Whoever does
// not know it finds a Capture without a target.
const AnnotationArguments = "retina.sh/target-arguments"

// Paths of fields, for messages.
const (
	PathName            = "metadata.name"
	PathNamespace       = "metadata.namespace"
	PathArguments       = "metadata.annotations[" + AnnotationArguments + "]"
	pathTarget          = "spec.captureConfiguration.captureTarget"
	PathNodes           = pathTarget + ".nodeSelector"
	PathNamespaces      = pathTarget + ".namespaceSelector"
	PathPods            = pathTarget + ".podSelector"
	PathPodNames        = pathTarget + ".podNames"
	pathOption          = "spec.captureConfiguration.captureOption"
	PathDuration        = pathOption + ".duration"
	PathMaxCaptureSize  = pathOption + ".maxCaptureSize"
	PathPacketSize      = pathOption + ".packetSize"
	PathFileCount       = pathOption + ".fileCount"
	PathInterfaces      = pathOption + ".interfaces"
	PathPcapFilter      = pathOption + ".pcapFilter"
	PathSourceIPs       = pathOption + ".sourceIPs"
	PathDestinationIPs  = pathOption + ".destinationIPs"
	PathTcpdumpFilter   = "spec.captureConfiguration.tcpdumpFilter"
	PathInclude         = "spec.captureConfiguration.filters.include"
	PathExclude         = "spec.captureConfiguration.filters.exclude"
	PathIncludeMetadata = "spec.captureConfiguration.includeMetadata"
	pathOutput          = "spec.outputConfiguration"
	PathHostPath        = pathOutput + ".hostPath"
	PathClaim           = pathOutput + ".persistentVolumeClaim"
	PathBlobSecret      = pathOutput + ".blobUpload"
	pathS3              = pathOutput + ".s3Upload"
	PathS3Bucket        = pathS3 + ".bucket"
	PathS3Region        = pathS3 + ".region"
	PathS3Endpoint      = pathS3 + ".endpoint"
	PathS3Path          = pathS3 + ".path"
	PathS3Secret        = pathS3 + ".secretName"
)
