package session

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// CollectorContainer is the name of a collector pod's only container.
const CollectorContainer = "collector"

const (
	collectorProgram = "/retina-collector"
	// collectorMemory bounds the collector with its ring buffer, which the
	// kernel charges to the container.
	collectorMemory = "192Mi"
	// deadlineSlack is what a pod may live longer than MaxRun and StartTimeout,
	// so that a collector ends itself before the kubelet ends it.
	deadlineSlack = time.Minute
)

type podOptions struct {
	RunID       string
	Capture     string
	Storage     *Storage
	Name        string
	Namespace   string
	Image       string
	PullSecrets []string
	Deadline    time.Duration
	Targets     int // pods to capture
	// Owner is the lease. Nil only for trying whether the pod is admitted.
	Owner *metav1.OwnerReference
}

func (c Config) podOptions(runID, name string, owner *metav1.OwnerReference) podOptions {
	return podOptions{
		RunID:       runID,
		Capture:     c.Capture,
		Storage:     c.Storage,
		Name:        name,
		Namespace:   c.Namespace,
		Image:       c.Image,
		PullSecrets: c.PullSecrets,
		Deadline:    c.MaxRun + c.StartTimeout + deadlineSlack,
		Owner:       owner,
	}
}

// collectorPod returns the pod of a collector on node: privileged, and able to
// do nothing in the cluster.
func collectorPod(node string, o podOptions) *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        o.Name,
			Namespace:   o.Namespace,
			Labels:      objectLabels(o.RunID, o.Capture, ComponentCollector),
			Annotations: map[string]string{AnnotationNode: node, AnnotationPods: strconv.Itoa(o.Targets)},
		},
		Spec: corev1.PodSpec{
			// The scheduler is not asked: it would refuse a full or cordoned
			// node, and it may be what is broken.
			NodeName:                     node,
			HostNetwork:                  true,
			HostPID:                      true,
			DNSPolicy:                    corev1.DNSDefault,
			Tolerations:                  []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			RestartPolicy:                corev1.RestartPolicyNever,
			AutomountServiceAccountToken: new(false),
			EnableServiceLinks:           new(false),
			// The API server deletes a pod with no grace period at once. With any
			// other, deletion waits for the kubelet, which does not answer while it
			// pulls an image, or for ever on a node that is gone. The kubelet still
			// gives the container two seconds.
			TerminationGracePeriodSeconds: new(int64(0)),
			ActiveDeadlineSeconds:         new(int64(o.Deadline / time.Second)),
			Containers:                    []corev1.Container{collectorSpec(o.Image)},
		},
	}
	if o.Owner != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*o.Owner}
	}
	for _, name := range o.PullSecrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	if o.Storage != nil {
		o.Storage.mount(&pod.Spec)
	}
	keepAlone(pod)
	return pod
}

// KeepCommand is the argument of a storing collector's main process.
const KeepCommand = "keep"

// Names of a storing collector's volumes.
const (
	stagingVolume = "staging"
	PVCVolume     = "pvc"
	HostVolume    = "host"
)

// mount makes the collector's pod one that stores.
func (s *Storage) mount(spec *corev1.PodSpec) {
	container := &spec.Containers[0]
	container.Command = []string{collectorProgram, KeepCommand}
	add := func(name, path string, source corev1.VolumeSource) {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
	}
	staging := &corev1.EmptyDirVolumeSource{}
	if s.StagingBytes > 0 {
		staging.SizeLimit = resource.NewQuantity(s.StagingBytes, resource.BinarySI)
	}
	add(stagingVolume, wire.StagingDirectory, corev1.VolumeSource{EmptyDir: staging})
	if s.PVC != "" {
		add(PVCVolume, wire.PVCMount, corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: s.PVC}})
	}
	if s.HostDir != "" {
		kind := corev1.HostPathDirectoryOrCreate
		if s.Existing {
			kind = corev1.HostPathDirectory
		}
		add(HostVolume, wire.HostMount, corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: s.HostDir, Type: &kind}})
	}
}

func collectorSpec(image string) corev1.Container {
	return corev1.Container{
		Name:            CollectorContainer,
		Image:           image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		// Holds the container open; the collector itself is exec'd into it.
		Command: []string{collectorProgram, "hold"},
		Resources: corev1.ResourceRequirements{
			// Zero, and said: left out, the memory request would be the limit, and
			// the kubelet of a fully reserved node refuses more than nothing.
			Requests: corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse("0"),
				corev1.ResourceMemory: resource.MustParse("0"),
			},
			// No CPU limit: throttling a collector loses packets.
			Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(collectorMemory)},
		},
		SecurityContext: &corev1.SecurityContext{
			Privileged:             new(true),
			ReadOnlyRootFilesystem: new(true),
			RunAsUser:              new(int64(0)),
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
}

// keepAlone asks those who change or move pods to leave this one as it is.
func keepAlone(pod *corev1.Pod) {
	pod.Labels["sidecar.istio.io/inject"] = "false" // current Istio reads the label, older the annotation
	for key, value := range map[string]string{
		"sidecar.istio.io/inject":                        "false",
		"linkerd.io/inject":                              "disabled",
		"cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
		"karpenter.sh/do-not-disrupt":                    "true",
	} {
		pod.Annotations[key] = value
	}
}
