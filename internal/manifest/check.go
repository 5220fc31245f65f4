package manifest

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// A checker turns a document into a Capture and tells what cannot be.
type checker struct {
	*decoder
	prefix string // path of the document within a List
}

func (c *checker) at(path string) string { return join(c.prefix, path) }

// wrong is a mistake at a path with advice.
func (c *checker) refuse(path, advice, format string, args ...any) {
	c.problems = append(c.problems, hint.Wrap(fmt.Errorf("%s: %s", c.at(path), fmt.Sprintf(format, args...)), advice))
}

// capture returns what the document says. Its mistakes go to d.
func (o *document) capture(d *decoder, prefix string) *Capture {
	c := &checker{decoder: d, prefix: prefix}
	m := &Capture{Name: o.Metadata.Name, GenerateName: o.Metadata.GenerateName, Namespace: o.Metadata.Namespace}
	if m.Name != "" {
		m.GenerateName = "" // as the API server has it
	}
	if m.Name == "" && m.GenerateName == "" {
		c.refuse(PathName, "it is the capture's name", "is missing")
	}
	if m.Namespace != "" && len(validation.IsDNS1123Label(m.Namespace)) > 0 {
		c.refuse(PathNamespace, "", "%q cannot be the name of a namespace", key(m.Namespace))
	}
	if o.Spec == nil || o.Spec.CaptureConfiguration == nil {
		c.refuse("spec.captureConfiguration", "it says what to capture, in captureTarget", "is missing")
		return m
	}
	c.target(m, &o.Spec.CaptureConfiguration.CaptureTarget, o.Metadata.Annotations[AnnotationArguments])
	c.options(m, o.Spec.CaptureConfiguration)
	if o.Spec.OutputConfiguration != nil {
		c.output(&m.Output, o.Spec.OutputConfiguration)
	}
	return m
}

func (c *checker) target(m *Capture, t *captureTarget, arguments string) {
	m.Target = Target{
		Nodes: t.NodeSelector, Namespaces: t.NamespaceSelector, Pods: t.PodSelector, PodNames: t.PodNames,
	}
	if words := strings.Fields(arguments); len(words) > 0 {
		m.Arguments = words
	}
	c.selector(PathNodes, m.Nodes)
	c.selector(PathNamespaces, m.Namespaces)
	c.selector(PathPods, m.Pods)
	for i, name := range m.PodNames {
		c.name(fmt.Sprintf("%s[%d]", PathPodNames, i), "pod", &name)
	}
	selected := PathPods
	if m.Pods == nil {
		selected = PathNamespaces
	}
	var given []string
	for _, way := range []struct {
		path  string
		given bool
	}{
		{PathNodes, m.Nodes != nil},
		{selected, m.Pods != nil || m.Namespaces != nil},
		{PathPodNames, len(m.PodNames) > 0},
		{PathArguments, len(m.Arguments) > 0},
	} {
		if way.given {
			given = append(given, way.path)
		}
	}
	switch {
	case len(given) == 0:
		c.refuse(pathTarget, "give it a nodeSelector, podNames, or a podSelector with or without a namespaceSelector", "selects nothing")
	case len(given) > 1:
		c.refuse(given[1], "keep one of them, or write a Capture for each", "cannot be combined with %s", given[0])
	}
}

// selector checks each part of a label selector by itself, to name it.
func (c *checker) selector(path string, s *metav1.LabelSelector) {
	if s == nil {
		return
	}
	if _, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchLabels: s.MatchLabels}); err != nil {
		c.refuse(path+".matchLabels", "", "%s", oneText(err))
	}
	for i, e := range s.MatchExpressions {
		where := fmt.Sprintf("%s.matchExpressions[%d]", path, i)
		switch e.Operator {
		case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
		default:
			c.refuse(where+".operator", "", "%q is not one of In, NotIn, Exists, DoesNotExist", key(string(e.Operator)))
			continue
		}
		if _, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{e}}); err != nil {
			c.refuse(where, "", "%s", oneText(err))
		}
	}
}

func (c *checker) options(m *Capture, from *captureConfiguration) {
	o := &from.CaptureOption
	m.MaxCaptureSize, m.PacketSize, m.FileCount, m.IncludeMetadata = o.MaxCaptureSize, o.PacketSize, o.FileCount, from.IncludeMetadata
	m.Filter = Filter{
		Interfaces: o.Interfaces, PcapFilter: o.PcapFilter, TcpdumpFilter: from.TcpdumpFilter,
		SourceIPs: o.SourceIPs, DestinationIPs: o.DestinationIPs,
	}
	if from.Filters != nil {
		m.Include, m.Exclude = from.Filters.Include, from.Filters.Exclude
	}
	if o.Duration != nil {
		m.Duration = c.duration(*o.Duration)
	}
	c.atLeast(PathMaxCaptureSize, o.MaxCaptureSize, 0)
	c.atLeast(PathPacketSize, o.PacketSize, 0)
	c.atLeast(PathFileCount, o.FileCount, 1)
	c.oneOf(pathOption+".verbosity", o.Verbosity, "verbose", "extra", "max")
	c.oneOf(pathOption+".printDataFormat", o.PrintDataFormat, "hex", "hex-with-link", "ascii", "ascii-with-link")
	c.oneOf(pathOption+".timestampFormat", o.TimestampFormat, "none", "unformatted", "delta", "date", "delta-since-first")
	if m.PcapFilter != "" && m.TcpdumpFilter != "" {
		c.refuse(PathTcpdumpFilter, "it is the old name of pcapFilter: keep that", "cannot be combined with %s", PathPcapFilter)
	}
}

// duration parses a time as Retina's schema allows it.
func (c *checker) duration(text string) *time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || !regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`).MatchString(text) {
		c.refuse(PathDuration, "write 10s, 5m or 1h", "%q is not a time", key(text))
		return nil
	}
	return &d
}

func (c *checker) atLeast(path string, n *int64, least int64) {
	if n != nil && *n < least {
		c.refuse(path, "", "%d is less than %d", *n, least)
	}
}

func (c *checker) oneOf(path, value string, values ...string) {
	for _, v := range values {
		if value == v {
			return
		}
	}
	if value != "" {
		c.refuse(path, "", "%q is not one of %s", key(value), strings.Join(values, ", "))
	}
}

func (c *checker) output(m *Output, o *outputConfiguration) {
	if o.HostPath != nil {
		m.HostPath = *o.HostPath
		c.hostPath(m.HostPath)
	}
	m.Claim = c.name(PathClaim, "PersistentVolumeClaim", o.PersistentVolumeClaim)
	m.BlobSecret = c.blobSecret(o.BlobUpload)
	if s := o.S3Upload; s != nil {
		m.S3 = &S3{Bucket: s.Bucket, Region: s.Region, Endpoint: s.Endpoint, Path: s.Path}
		if s.Bucket == "" {
			c.refuse(PathS3Bucket, "", "is missing")
		}
		if s.SecretName != "" {
			m.S3.Secret = c.name(PathS3Secret, "Secret", &s.SecretName)
		}
	}
}

func (c *checker) hostPath(p string) {
	switch {
	case p == "":
		c.refuse(PathHostPath, "to store nothing on nodes leave it out; . is the directory of --host-path-base-dir itself", "is empty")
	case path.IsAbs(p):
		c.refuse(PathHostPath, "write it as a path below --host-path-base-dir, /var/log/retina/captures unless that is given", "%q is absolute", key(p))
	case strings.ContainsAny(p, "\\:\x00"):
		c.refuse(PathHostPath, "", "%q is not a relative path", key(p))
	case strings.Contains("/"+p+"/", "/../"):
		c.refuse(PathHostPath, "", "%q leaves --host-path-base-dir", key(p))
	}
}

// blobSecret checks the name of a secret. What is no name may be the secret
// itself, so it is not repeated.
func (c *checker) blobSecret(name *string) string {
	if name == nil {
		return ""
	}
	if len(validation.IsDNS1123Subdomain(*name)) > 0 {
		c.refuse(PathBlobSecret, "put the URL with its SAS into a Secret, under the key blob-upload-url, and write its name here", "is not the name of a Secret")
		return ""
	}
	return *name
}

// name checks the name of an object and returns it.
func (c *checker) name(path, kind string, name *string) string {
	if name == nil {
		return ""
	}
	if len(validation.IsDNS1123Subdomain(*name)) > 0 {
		c.refuse(path, "", "%q cannot be the name of a %s", key(*name), kind)
	}
	return *name
}
