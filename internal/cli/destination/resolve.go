package destination

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/store"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Keys of Retina's secrets.
const (
	blobKey      = "blob-upload-url"
	s3AccessKey  = "s3-access-key-id"
	s3SecretKey  = "s3-secret-access-key"
	s3SessionKey = "s3-session-token"
)

// maxSecret bounds a file with a URL in it, in bytes.
const maxSecret = 64 << 10

// Options are what destinations are resolved with.
type Options struct {
	Client    kubernetes.Interface
	Namespace string // of secrets and claims
	Stdin     io.Reader
	Getenv    func(string) string
	Now       time.Time
	// Until is when the last use of a SAS is expected; zero: nobody knows.
	Until time.Time
	// Need are the permissions that a SAS must have: "w" to upload.
	Need string
	// UseEnvironment has a blob URL in the environment count.
	UseEnvironment bool
}

// Resolved is where archives go, with the secrets that this takes.
type Resolved struct {
	Destinations []wire.Destination
	Warnings     []string
	// PVC and HostDir are what the collectors mount; empty: nothing.
	PVC, HostDir string
}

// InEnvironment reports whether the environment names a destination.
func InEnvironment(getenv func(string) string) bool { return getenv(blobVariable) != "" }

// Resolve finds the secrets and checks what can be checked from here.
func (f *Flags) Resolve(ctx context.Context, o Options) (*Resolved, error) {
	r := &Resolved{}
	for _, add := range []func(context.Context, Options, *Resolved) error{f.addBlob, f.addS3, f.addPVC, f.addHost} {
		if err := add(ctx, o, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (f *Flags) addBlob(ctx context.Context, o Options, r *Resolved) error {
	text, origin, err := f.blobText(ctx, o)
	if err != nil || text == "" {
		return err
	}
	checked, warnings, err := store.ParseContainerURL(text, store.CheckOptions{Now: o.Now, AllowHTTP: f.insecureBlob, Need: o.Need, Until: o.Until})
	if err != nil {
		return hint.Wrap(fmt.Errorf("%s: %w", origin, err), hint.Of(err))
	}
	r.Warnings = append(r.Warnings, warnings...)
	r.Destinations = append(r.Destinations, wire.Destination{Blob: &wire.BlobDestination{URL: checked.URL}})
	return nil
}

// blobText returns the container's URL and where it comes from.
func (f *Flags) blobText(ctx context.Context, o Options) (text, origin string, err error) {
	name := f.blobName()
	switch {
	case f.blobURL == stdin || f.blobFile == stdin:
		text, err = readSecret(o.Stdin)
		return text, "blob URL on standard input", err
	case f.blobURL != "":
		return f.blobURL, name, nil
	case f.blobFile != "":
		file, err := os.Open(f.blobFile)
		if err != nil {
			return "", "", fmt.Errorf("%s-file: %w", name, err)
		}
		defer file.Close()
		text, err = readSecret(file)
		return text, name + "-file " + f.blobFile, err
	case f.blobSecret != "":
		secret, key, _ := strings.Cut(f.blobSecret, "/")
		if key == "" {
			key = blobKey
		}
		values, err := readKeys(ctx, o, name+"-secret", secret, key)
		if err != nil {
			return "", "", err
		}
		return values[0], fmt.Sprintf("secret %s/%s", o.Namespace, secret), nil
	case o.UseEnvironment:
		return o.Getenv(blobVariable), "$" + blobVariable, nil
	}
	return "", "", nil
}

// readSecret reads a short text, without the white space around it.
func readSecret(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read blob URL: %w", err)
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("blob URL is longer than %d bytes", maxSecret)
	}
	trimmed := strings.TrimSpace(string(text))
	if trimmed == "" {
		return "", errors.New("blob URL is empty")
	}
	return trimmed, nil
}

// readKeys returns the values of a secret's keys.
func readKeys(ctx context.Context, o Options, flag, name string, keys ...string) ([]string, error) {
	secret, err := o.Client.CoreV1().Secrets(o.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, hint.Wrap(fmt.Errorf("%s: there is no secret %s in namespace %s", flag, name, o.Namespace),
			"the namespace is that of --collector-namespace")
	case apierrors.IsForbidden(err):
		return nil, hint.Wrap(fmt.Errorf("%s: you may not read secret %s in namespace %s", flag, name, o.Namespace),
			"pass the value in a file or by the environment instead")
	case err != nil:
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	values := make([]string, len(keys))
	for i, key := range keys {
		values[i] = strings.TrimSpace(string(secret.Data[key]))
		if values[i] == "" {
			return nil, fmt.Errorf("%s: secret %s/%s has no %s", flag, o.Namespace, name, key)
		}
	}
	return values, nil
}

func (f *Flags) addS3(ctx context.Context, o Options, r *Resolved) error {
	if f.s3Bucket == "" {
		return nil
	}
	d := &wire.S3Destination{
		Endpoint: f.s3Endpoint, Region: f.s3Region, Bucket: f.s3Bucket, Path: strings.Trim(f.s3Path, "/"),
		AccessKeyID: wire.Secret(f.s3AccessKeyID), SecretAccessKey: wire.Secret(f.s3SecretAccessKey),
	}
	if f.s3Secret != "" {
		values, err := readKeys(ctx, o, "--s3-secret", f.s3Secret, s3AccessKey, s3SecretKey)
		if err != nil {
			return err
		}
		d.AccessKeyID, d.SecretAccessKey = wire.Secret(values[0]), wire.Secret(values[1])
	}
	if err := fromAWS(ctx, d); err != nil {
		return err
	}
	if strings.HasPrefix(d.Endpoint, "http://") && o.Need == "w" {
		r.Warnings = append(r.Warnings, "--s3-endpoint is http: the packets can be read on the way")
	}
	r.Destinations = append(r.Destinations, wire.Destination{S3: d})
	return nil
}

// fromAWS fills in what is missing from the AWS configuration of this machine:
// environment, profile, single sign-on. The metadata service is not asked, which
// is somebody else's on a node and nobody's elsewhere.
func fromAWS(ctx context.Context, d *wire.S3Destination) error {
	if d.AccessKeyID != "" && (d.Region != "" || d.Endpoint != "") {
		d.Region = orDefault(d.Region)
		return nil
	}
	aws, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	if err != nil {
		return fmt.Errorf("AWS configuration: %w", err)
	}
	if d.Region == "" {
		d.Region = aws.Region
	}
	if d.Region == "" && d.Endpoint == "" {
		return hint.Wrap(errors.New("the region of the S3 bucket is not known"), "pass --s3-region, or --s3-endpoint for a server that is not AWS")
	}
	d.Region = orDefault(d.Region)
	if d.AccessKeyID != "" {
		return nil
	}
	credentials, err := aws.Credentials.Retrieve(ctx)
	if err != nil {
		return hint.Wrap(errors.New("there are no credentials for the S3 bucket"),
			"pass --s3-secret NAME, or --s3-access-key-id and --s3-secret-access-key, or set AWS_PROFILE, or log in: aws sso login")
	}
	d.AccessKeyID, d.SecretAccessKey, d.SessionToken =
		wire.Secret(credentials.AccessKeyID), wire.Secret(credentials.SecretAccessKey), wire.Secret(credentials.SessionToken)
	return nil
}

// orDefault is the region that servers which are not AWS take for any.
func orDefault(region string) string {
	if region == "" {
		return "us-east-1"
	}
	return region
}

func (f *Flags) addPVC(ctx context.Context, o Options, r *Resolved) error {
	if f.pvc == "" {
		return nil
	}
	claim, err := o.Client.CoreV1().PersistentVolumeClaims(o.Namespace).Get(ctx, f.pvc, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return hint.Wrap(fmt.Errorf("--pvc: there is no claim %s in namespace %s", f.pvc, o.Namespace),
			"the namespace is that of --collector-namespace")
	case err == nil && claim.Status.Phase == corev1.ClaimPending:
		return hint.Wrap(fmt.Errorf("--pvc: claim %s/%s is not bound", o.Namespace, f.pvc),
			"collectors are not placed by the scheduler, which binds claims that wait for a first consumer: use the claim once in another pod")
	case err == nil && !sharable(claim.Spec.AccessModes):
		r.Warnings = append(r.Warnings, fmt.Sprintf("claim %s/%s can be used from one node only: captures of other nodes will not start", o.Namespace, f.pvc))
	case err != nil && !apierrors.IsForbidden(err):
		return fmt.Errorf("--pvc: %w", err)
	}
	r.PVC = f.pvc
	r.Destinations = append(r.Destinations, wire.Destination{Dir: &wire.DirDestination{Mount: wire.PVCMount, Name: "pvc " + f.pvc}})
	return nil
}

// sharable reports whether pods on several nodes can write to a claim.
func sharable(modes []corev1.PersistentVolumeAccessMode) bool {
	for _, mode := range modes {
		if mode == corev1.ReadWriteMany {
			return true
		}
	}
	return false
}

func (f *Flags) addHost(_ context.Context, _ Options, r *Resolved) error {
	if !f.hostGiven() {
		return nil
	}
	sub := path.Clean(f.hostPath)
	if sub == "." {
		sub = ""
	}
	r.HostDir = path.Clean(f.hostBase)
	r.Destinations = append(r.Destinations, wire.Destination{Dir: &wire.DirDestination{
		Mount: wire.HostMount, Path: sub, Name: "host path " + path.Join(r.HostDir, sub), Keep: f.hostPathKeep,
	}})
	return nil
}

func checkEndpoint(text string) error {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return hint.Wrap(errors.New("--s3-endpoint is not the URL of a server"), "write https://HOST:PORT")
	}
	return nil
}

func validName(name string) bool { return len(validation.IsDNS1123Subdomain(name)) == 0 }
