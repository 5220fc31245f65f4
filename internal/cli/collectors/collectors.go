// Package collectors is the flags that say where collector pods run and with which
// image.
package collectors

import (
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/pflag"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

// ImageVariable is the environment variable that stands in for --image.
const ImageVariable = "RETINA_COLLECTOR_IMAGE"

// Flags are the flags.
type Flags struct {
	// Namespace is where the pods run; empty: that of the kubeconfig context.
	Namespace string
	// ImageFlag is the value of --image; see Image.
	ImageFlag   string
	PullSecrets []string
}

// AddTo adds the flags to f.
func (o *Flags) AddTo(f *pflag.FlagSet) {
	f.StringVar(&o.Namespace, "collector-namespace", "", "where the collector pods run (default that of the kubeconfig context)")
	f.StringVar(&o.ImageFlag, "image", "", "the collectors' image (default $"+ImageVariable+", else "+version.CollectorImage()+")")
	f.StringSliceVar(&o.PullSecrets, "image-pull-secret", nil, "secrets of the collector namespace to pull the image with")
}

// Image is the image of --image, of the environment, or our own.
func (o *Flags) Image() (string, error) { return Image(o.ImageFlag) }

// Image is the image of a flag's value, of the environment, or our own.
func Image(flag string) (string, error) {
	image, origin := flag, "--image"
	if image == "" {
		image, origin = os.Getenv(ImageVariable), "$"+ImageVariable
	}
	if image == "" {
		return version.CollectorImage(), nil
	}
	if _, err := name.ParseReference(image); err != nil {
		return "", hint.Wrap(fmt.Errorf("%s %q is not the name of an image", origin, image),
			"write it as REGISTRY/REPOSITORY:TAG, the repository in lower case and without blanks")
	}
	return image, nil
}
