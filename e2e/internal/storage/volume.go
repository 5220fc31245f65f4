//go:build linux

package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// volumeTimeout is how long a claim may take to be bound or to go.
const volumeTimeout = time.Minute

// Claim is a bound PersistentVolumeClaim. Its volume is one directory of this
// machine, which all nodes have at the same path: what a pod of one node writes,
// pods of the others and the test read.
type Claim struct {
	Namespace, Name string
	Dir             string // of this machine, and of every node
}

// StartClaim makes a claim and its volume, and deletes both at the end of the
// test, when no pod uses them any more. What an earlier test left of the same name
// is replaced. Without modes it is ReadWriteMany.
func StartClaim(t testing.TB, c *lab.Cluster, client kubernetes.Interface, namespace, name string, modes ...corev1.PersistentVolumeAccessMode) Claim {
	t.Helper()
	if len(modes) == 0 {
		modes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	}
	dir, err := newScratch(c, "volume")
	if err != nil {
		t.Fatal(err)
	}
	claim := Claim{Namespace: namespace, Name: name, Dir: filepath.Join(dir.path, "data")}
	t.Cleanup(func() {
		if err := dir.remove(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(claim.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := claim.delete(client); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := claim.delete(client); err != nil {
			t.Error(err)
		}
	})
	if err := claim.create(client, modes); err != nil {
		t.Fatal(err)
	}
	return claim
}

// volume is the name of the PersistentVolume, which is in no namespace.
func (c Claim) volume() string { return c.Namespace + "-" + c.Name }

func (c Claim) create(client kubernetes.Interface, modes []corev1.PersistentVolumeAccessMode) error {
	ctx := context.Background()
	size, none, directory := resource.MustParse("1Gi"), "", corev1.HostPathDirectory
	// The claim first, and its UID in the volume: otherwise the controller may not
	// bring them together before it looks again after 15 s.
	claim, err := client.CoreV1().PersistentVolumeClaims(c.Namespace).Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: c.Name, Namespace: c.Namespace},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      modes,
			StorageClassName: &none,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: c.volume()},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: size},
			AccessModes:                   modes,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			ClaimRef:                      &corev1.ObjectReference{Namespace: c.Namespace, Name: c.Name, UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: c.Dir, Type: &directory},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return poll(volumeTimeout, func() error {
		now, err := client.CoreV1().PersistentVolumeClaims(c.Namespace).Get(ctx, c.Name, metav1.GetOptions{})
		if err == nil && now.Status.Phase != corev1.ClaimBound {
			err = fmt.Errorf("claim %s is %s", c.Name, now.Status.Phase)
		}
		return err
	})
}

// delete deletes the claim and its volume and waits until they are gone. That
// they are not there is no error.
func (c Claim) delete(client kubernetes.Interface) error {
	ctx := context.Background()
	return poll(volumeTimeout, func() error {
		for _, remove := range []func() error{
			func() error {
				return client.CoreV1().PersistentVolumeClaims(c.Namespace).Delete(ctx, c.Name, metav1.DeleteOptions{})
			},
			func() error {
				return client.CoreV1().PersistentVolumes().Delete(ctx, c.volume(), metav1.DeleteOptions{})
			},
		} {
			if err := remove(); err == nil {
				return fmt.Errorf("claim %s is being deleted", c.Name)
			} else if !apierrors.IsNotFound(err) {
				return err
			}
		}
		return nil
	})
}

func poll(patience time.Duration, try func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// SmallDisk puts an empty disk of so many bytes, in whole pages, at dir of a node,
// in place of what is there, which pods that are started from now on find. Undo
// gives back what was there; the end of the test does so in any case.
func SmallDisk(t testing.TB, c *lab.Cluster, node, dir string, bytes int64) (undo func()) {
	t.Helper()
	do := func(args ...string) error {
		cmd, err := c.NodeCommand(context.Background(), node, args...)
		if err != nil {
			return err
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("node %s: %q: %w: %s", node, args, err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	if do("mountpoint", "--quiet", dir) == nil { // by a test that was killed
		if err := do("umount", "--lazy", dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := do("mkdir", "--parents", dir); err != nil {
		t.Fatal(err)
	}
	if err := do("mount", "-t", "tmpfs", "-o", "mode=755,size="+strconv.FormatInt(bytes, 10), "small", dir); err != nil {
		t.Fatal(err)
	}
	mounted := true
	undo = func() {
		if !mounted {
			return
		}
		if err := do("umount", "--lazy", dir); err != nil {
			t.Error(err)
			return
		}
		mounted = false
	}
	t.Cleanup(undo)
	return undo
}
