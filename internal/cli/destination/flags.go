// Package destination is the flags that say where archives are stored: a blob
// container, an S3 bucket, a volume, or the nodes' own disks.
package destination

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Environment variables that stand in for flags.
const blobVariable = "RETINA_BLOB_URL"

// defaultHostBase is where archives are kept on nodes.
const defaultHostBase = "/var/log/retina/captures"

// stdin is the name of a file that means standard input.
const stdin = "-"

// Flags are the flags that name destinations, or the places where archives are
// looked for.
type Flags struct {
	flags *pflag.FlagSet

	blobURL, blobFile, blobSecret string
	insecureBlob                  bool

	s3Bucket, s3Region, s3Endpoint, s3Path string
	s3AccessKeyID, s3SecretAccessKey       string
	s3Secret                               string

	pvc          string
	hostPath     string
	hostBase     string
	hostPathKeep int
}

// AddTo adds the flags. upload is whether archives go there, in contrast to
// coming from there.
func (f *Flags) AddTo(flags *pflag.FlagSet, upload bool) {
	f.flags = flags
	blobName, where := "blob-upload", "upload to"
	if !upload {
		blobName, where = "blob-url", "look in"
	}
	flags.StringVar(&f.blobURL, blobName, "", where+" this Azure Blob container: its URL with a SAS, or - to read that from standard input (default $"+blobVariable+")")
	flags.StringVar(&f.blobFile, blobName+"-file", "", "read the URL of --"+blobName+" from this file, - for standard input")
	flags.StringVar(&f.blobSecret, blobName+"-secret", "", "read the URL of --"+blobName+" from this secret of the collector namespace: NAME or NAME/KEY (KEY is blob-upload-url)")
	flags.BoolVar(&f.insecureBlob, "insecure-blob", false, "allow a blob URL that is http: the SAS and the packets can be read on the way")

	flags.StringVar(&f.s3Bucket, "s3-bucket", "", where+" this S3 bucket")
	flags.StringVar(&f.s3Region, "s3-region", "", "the bucket's region (default that of the AWS profile)")
	flags.StringVar(&f.s3Endpoint, "s3-endpoint", "", "URL of an S3 server that is not AWS")
	flags.StringVar(&f.s3Path, "s3-path", "retina/captures", "prefix of the keys in the bucket")
	flags.StringVar(&f.s3AccessKeyID, "s3-access-key-id", "", "access key (default from --s3-secret, or from the AWS environment or profile of this machine)")
	flags.StringVar(&f.s3SecretAccessKey, "s3-secret-access-key", "", "secret key, for --s3-access-key-id")
	flags.StringVar(&f.s3Secret, "s3-secret", "", "read the keys from this secret of the collector namespace: s3-access-key-id and s3-secret-access-key")

	flags.StringVar(&f.pvc, "pvc", "", "a PersistentVolumeClaim of the collector namespace")
	flags.StringVar(&f.hostPath, "host-path", "", "a directory on each node, below --host-path-base-dir")
	flags.StringVar(&f.hostBase, "host-path-base-dir", defaultHostBase, "where host paths begin on the nodes")
	if upload {
		flags.IntVar(&f.hostPathKeep, "host-path-keep", 0, "keep only this many archives in the host path, the youngest; 0 is all")
	}
}

// name of the blob flag, for messages.
func (f *Flags) blobName() string {
	if f.flags.Lookup("blob-upload") != nil {
		return "--blob-upload"
	}
	return "--blob-url"
}

// Any reports whether a flag names a destination. The environment does not count.
func (f *Flags) Any() bool {
	return f.blobGiven() || f.s3Bucket != "" || f.pvc != "" || f.hostGiven()
}

func (f *Flags) blobGiven() bool { return f.blobURL != "" || f.blobFile != "" || f.blobSecret != "" }

func (f *Flags) hostGiven() bool { return f.flags.Changed("host-path") }

// Check reports the first mistake that shows without a cluster.
func (f *Flags) Check() error {
	for _, check := range []func() error{f.checkBlob, f.checkS3, f.checkPVC, f.checkHost} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (f *Flags) checkBlob() error {
	name, given := f.blobName(), 0
	for _, value := range []string{f.blobURL, f.blobFile, f.blobSecret} {
		if value != "" {
			given++
		}
	}
	if given > 1 {
		return fmt.Errorf("%[1]s, %[1]s-file and %[1]s-secret exclude each other", name)
	}
	for _, flag := range []string{"", "-file", "-secret"} {
		if f.flags.Changed(strings.TrimPrefix(name, "--")+flag) && given == 0 {
			return hint.Wrap(fmt.Errorf("%s%s is empty", name, flag), "is the variable that it comes from set?")
		}
	}
	return nil
}

func (f *Flags) checkS3() error {
	if f.s3Bucket == "" {
		for _, flag := range []string{"s3-region", "s3-endpoint", "s3-path", "s3-access-key-id", "s3-secret-access-key", "s3-secret"} {
			if f.flags.Changed(flag) {
				return fmt.Errorf("--%s needs --s3-bucket", flag)
			}
		}
		if f.flags.Changed("s3-bucket") {
			return errors.New("--s3-bucket is empty")
		}
		return nil
	}
	switch {
	case strings.Contains(f.s3Bucket, "/") || strings.Contains(f.s3Bucket, ":"):
		return hint.Wrap(fmt.Errorf("--s3-bucket %q is not the name of a bucket", f.s3Bucket), "write the bucket alone, and what follows it as --s3-path")
	case (f.s3AccessKeyID == "") != (f.s3SecretAccessKey == ""):
		return errors.New("--s3-access-key-id and --s3-secret-access-key belong together")
	case f.s3AccessKeyID != "" && f.s3Secret != "":
		return errors.New("--s3-access-key-id and --s3-secret exclude each other")
	case f.s3Endpoint != "":
		return checkEndpoint(f.s3Endpoint)
	}
	return nil
}

func (f *Flags) checkPVC() error {
	if f.flags.Changed("pvc") && f.pvc == "" {
		return errors.New("--pvc is empty")
	}
	if f.pvc != "" && !validName(f.pvc) {
		return fmt.Errorf("--pvc %q cannot be the name of a claim", f.pvc)
	}
	return nil
}

func (f *Flags) checkHost() error {
	switch {
	case !f.hostGiven() && f.flags.Changed("host-path-base-dir"):
		return hint.Wrap(errors.New("--host-path-base-dir needs --host-path"), "--host-path . is that directory itself")
	case !f.hostGiven() && f.hostPathKeep != 0:
		return errors.New("--host-path-keep needs --host-path")
	case f.hostPathKeep < 0 || f.hostPathKeep > wire.MaxHostPathKeep:
		return fmt.Errorf("--host-path-keep %d is not between 0 and %d", f.hostPathKeep, wire.MaxHostPathKeep)
	case !f.hostGiven():
		return nil
	case f.hostPath == "":
		return hint.Wrap(errors.New("--host-path is empty"), "--host-path . is --host-path-base-dir itself")
	case strings.ContainsAny(f.hostPath, "\\\x00") || strings.Contains(f.hostPath, ":"):
		return fmt.Errorf("--host-path %q is not a relative path", f.hostPath)
	case path.IsAbs(f.hostPath):
		return hint.Wrap(fmt.Errorf("--host-path %q is absolute", f.hostPath),
			"it is a path below --host-path-base-dir "+f.hostBase)
	case strings.HasPrefix(path.Clean(f.hostPath)+"/", "../") || strings.Contains("/"+f.hostPath+"/", "/../"):
		return fmt.Errorf("--host-path %q leaves --host-path-base-dir", f.hostPath)
	case !path.IsAbs(f.hostBase) || path.Clean(f.hostBase) == "/" || strings.Contains(f.hostBase+"/", "/../"):
		return fmt.Errorf("--host-path-base-dir %q is not an absolute directory below /", f.hostBase)
	}
	return nil
}

// SecretFlags are the flags whose values must not be shown.
func SecretFlags() []string { return []string{"blob-upload", "blob-url", "s3-secret-access-key"} }
