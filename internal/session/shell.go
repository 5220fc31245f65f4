package session

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ShellContainer is the container of a shell's pod that has the user's image.
const ShellContainer = "shell"

// Names in a shell's pod. The collector's program is copied next to the image's
// own, because no image can be relied on to have what enters a network namespace.
const (
	programContainer = "program"
	programVolume    = "program"
	programDirectory = "/.retina"
	shellProgram     = programDirectory + collectorProgram
	shellMemory      = "1Gi"
)

// A Shell says where a debug shell runs.
type Shell struct {
	// Image is the user's.
	Image string
	// PodUID is the pod's whose network it is, as in wire.Target; empty: the node's.
	PodUID string
	// Namespace is that of the pod, whose names are looked for after those of the
	// namespace where the shell's own pod runs.
	Namespace string
}

// Command is what to execute in [ShellContainer]: words, or a shell of the
// image's if there are none.
func (s Shell) Command(words []string) []string {
	where := s.PodUID
	if where == "" {
		where = "node"
	}
	return append([]string{shellProgram, "enter", where}, words...)
}

// StartShell starts a pod for a shell on node and returns when its container
// runs, or when it is clear that it will not. The run's image is the collector's.
// A StartShell that fails leaves no pod; else it is deleted when the run is
// closed, or once no shell has been in it for a minute.
func (r *Run) StartShell(ctx context.Context, node string, shell Shell) (types.NamespacedName, error) {
	if err := r.begin(); err != nil {
		return types.NamespacedName{}, err
	}
	defer r.tasks.Done()
	ctx, cancel := r.startContext(ctx, "shell")
	defer cancel()
	s := &start{run: r, node: node, began: time.Now()}
	if err := s.startShell(ctx, shell); err != nil {
		return types.NamespacedName{}, fmt.Errorf("node %s: %w", node, and(err, s.undo(ctx)))
	}
	s.emit(PhaseReady)
	return s.pod, nil
}

func (s *start) startShell(ctx context.Context, shell Shell) error {
	view, err := s.run.lookAt(ctx, s.node)
	if err = and(err, view.Fault); err != nil {
		return ended(ctx, err)
	}
	owner, err := s.run.leaseOwner(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	s.emit(PhaseCreating)
	if err := s.create(ctx, owner, func(o podOptions) *corev1.Pod { return shellPod(s.node, o, shell) }); err != nil {
		return ended(ctx, err)
	}
	_, err = (&progress{start: s, view: view}).waitRunning(ctx)
	return err
}

// create creates the pod that build returns, and follows it.
func (s *start) create(ctx context.Context, owner metav1.OwnerReference, build func(podOptions) *corev1.Pod) error {
	r := s.run
	s.pod = types.NamespacedName{Namespace: r.cfg.Namespace, Name: r.nextPod()}
	pod := build(r.cfg.podOptions(r.id, s.pod.Name, &owner))
	created, err := r.cfg.Client.CoreV1().Pods(r.cfg.Namespace).Create(ctx, pod, metav1.CreateOptions{FieldManager: ProgramName})
	if err != nil {
		return refusal(r.cfg.Namespace, err)
	}
	r.notePod(created.Name, created.UID)
	r.pods.add(created)
	return nil
}

// shellPod is a collector's pod with the user's image: not privileged, and without
// the node's processes unless a pod's network has to be found among them.
func shellPod(node string, o podOptions, shell Shell) *corev1.Pod {
	pod := collectorPod(node, o)
	pod.Labels[LabelComponent] = ComponentShell
	spec := &pod.Spec
	spec.HostPID = shell.PodUID != ""
	if shell.PodUID != "" {
		// Names as the pod knows them. A pod on the node's network cannot reach the
		// cluster's DNS any worse than the pod itself.
		spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
		// Which domain the cluster has is nowhere to be read before a pod runs.
		spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{shell.Namespace + ".svc.cluster.local"}}
	}
	spec.Volumes = []corev1.Volume{{Name: programVolume, VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: resource.NewQuantity(64<<20, resource.BinarySI)},
	}}}
	mount := corev1.VolumeMount{Name: programVolume, MountPath: programDirectory}
	program := collectorSpec(o.Image)
	program.Name, program.Command = programContainer, []string{collectorProgram, "copy", shellProgram}
	program.SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), RunAsUser: new(int64(0)),
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	program.VolumeMounts = []corev1.VolumeMount{mount}
	spec.InitContainers = []corev1.Container{program}

	mount.ReadOnly = true
	container := collectorSpec(shell.Image)
	container.Name, container.Command = ShellContainer, []string{shellProgram, "hold"}
	container.VolumeMounts = []corev1.VolumeMount{mount}
	container.Resources.Limits[corev1.ResourceMemory] = resource.MustParse(shellMemory)
	container.SecurityContext = shellSecurity(shell.PodUID != "")
	spec.Containers = []corev1.Container{container}
	return pod
}

// shellSecurity are the capabilities of the shell, see collector.Enter, and those
// to enter a pod's network, which it takes away from itself before the shell begins.
func shellSecurity(enters bool) *corev1.SecurityContext {
	capabilities := &corev1.Capabilities{
		Drop: []corev1.Capability{"ALL"},
		Add:  []corev1.Capability{"NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL"},
	}
	s := &corev1.SecurityContext{RunAsUser: new(int64(0)), Capabilities: capabilities}
	if !enters {
		s.AllowPrivilegeEscalation = new(false)
		s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
		return s
	}
	capabilities.Add = append(capabilities.Add, "SYS_ADMIN", "SYS_PTRACE", "SETPCAP")
	// The profiles of runtimes let nobody look into another container's namespaces.
	s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
	s.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	s.SELinuxOptions = &corev1.SELinuxOptions{Type: "spc_t"}
	return s
}
