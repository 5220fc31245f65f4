package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// YAML returns captures as one text that [Parse] reads.
func YAML(captures []*Capture) ([]byte, error) {
	var out bytes.Buffer
	for i, c := range captures {
		text, err := yaml.Marshal(newDocument(c))
		if err != nil {
			return nil, fmt.Errorf("manifest of %s: %w", c.Name, err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// JSON is like [YAML]. Several captures are a List.
func JSON(captures []*Capture) ([]byte, error) {
	documents := make([]*document, len(captures))
	for i, c := range captures {
		documents[i] = newDocument(c)
	}
	var all any = map[string]any{"apiVersion": "v1", "kind": "List", "items": documents}
	if len(documents) == 1 {
		all = documents[0]
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return append(text, '\n'), nil
}

// newDocument writes down what c says, and nothing of what it ignores.
func newDocument(c *Capture) *document {
	config := &captureConfiguration{
		CaptureTarget: captureTarget{
			NodeSelector: c.Nodes, NamespaceSelector: c.Namespaces, PodSelector: c.Pods, PodNames: c.PodNames,
		},
		CaptureOption: captureOption{
			MaxCaptureSize: c.MaxCaptureSize, PacketSize: c.PacketSize, FileCount: c.FileCount,
			Interfaces: c.Interfaces, PcapFilter: c.PcapFilter, SourceIPs: c.SourceIPs, DestinationIPs: c.DestinationIPs,
		},
		TcpdumpFilter: c.TcpdumpFilter, IncludeMetadata: c.IncludeMetadata,
	}
	if c.Duration != nil {
		config.CaptureOption.Duration = new(c.Duration.String())
	}
	if len(c.Include)+len(c.Exclude) > 0 {
		config.Filters = &filters{Include: c.Include, Exclude: c.Exclude}
	}
	output := &outputConfiguration{
		HostPath: given(c.HostPath), PersistentVolumeClaim: given(c.Claim), BlobUpload: given(c.BlobSecret),
	}
	if s := c.S3; s != nil {
		output.S3Upload = &s3{Bucket: s.Bucket, Endpoint: s.Endpoint, Region: s.Region, Path: s.Path, SecretName: s.Secret}
	}
	o := &document{
		APIVersion: APIVersion, Kind: Kind,
		Metadata: metadata{Name: c.Name, GenerateName: c.GenerateName, Namespace: c.Namespace},
		Spec:     &spec{CaptureConfiguration: config, OutputConfiguration: output},
	}
	if len(c.Arguments) > 0 {
		o.Metadata.Annotations = map[string]string{AnnotationArguments: strings.Join(c.Arguments, " ")}
	}
	return o
}

// given is nil for an empty text.
func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
