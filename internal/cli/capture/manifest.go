package capture

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/destination"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/manifest"
)

// blobSecretKey is what Retina calls the URL in a secret.
const blobSecretKey = "blob-upload-url"

// targetFlags and destinationFlags say what a manifest says, and so exclude it.
// What is about how a destination is used goes with one.
func targetFlags() []string {
	return []string{"selector", "all-namespaces", "pod-names", "pod-selectors", "namespace-selectors", "node-names", "node-selectors"}
}

func destinationFlags() []string {
	return []string{
		"blob-upload", "blob-upload-file", "blob-upload-secret", "s3-bucket", "s3-region", "s3-endpoint", "s3-path",
		"s3-access-key-id", "s3-secret-access-key", "s3-secret", "pvc", "host-path",
	}
}

// checkBesideFile refuses what the command line says and the manifest should.
func (o *createOptions) checkBesideFile() error {
	advice := "write it in the manifest, or leave -f away"
	if len(o.request.Args) > 0 {
		return hint.Wrap(fmt.Errorf("-f and %s both name targets", o.request.Args[0]), advice)
	}
	for _, name := range targetFlags() {
		if o.flags.Changed(name) {
			return hint.Wrap(fmt.Errorf("-f and --%s both name targets", name), advice)
		}
	}
	for _, name := range destinationFlags() {
		if o.flags.Changed(name) {
			return hint.Wrap(fmt.Errorf("-f and --%s both say where the capture goes", name), advice)
		}
	}
	if o.flags.Changed("name") {
		return hint.Wrap(errors.New("-f and --name both name the capture"), advice)
	}
	return nil
}

// fromManifest makes the flags say what m says. A flag that was given goes with
// a field that m does not have.
func (o *createOptions) fromManifest(m *manifest.Capture) error {
	o.source = m
	if err := o.checkBesideFile(); err != nil {
		return err
	}
	for _, field := range manifestFields() {
		values := field.values(m)
		if len(values) == 0 {
			continue
		}
		switch {
		case o.flags.Changed(field.flag):
			return hint.Wrap(fmt.Errorf("--%s and %s contradict each other", field.flag, field.path), "keep one of them")
		}
		if err := setFlag(o.flags, field.flag, values); err != nil {
			return fmt.Errorf("%s: %w", field.path, err)
		}
		o.fields[field.flag] = field.path
	}
	if m.Duration == nil && !o.flags.Changed("duration") {
		if err := o.flags.Set("duration", "0s"); err != nil {
			return err
		}
	}
	o.name, o.nameBase = m.Name, strings.TrimSuffix(m.GenerateName, "-")
	o.fields["name"] = manifest.PathName
	if n := o.flags.Lookup("namespace"); n != nil && n.Changed && m.Namespace != "" && m.Namespace != n.Value.String() {
		return hint.Wrap(fmt.Errorf("-n %s and %s %s contradict each other", n.Value, manifest.PathNamespace, m.Namespace), "leave -n away")
	}
	o.namespace = m.Namespace
	return o.targetsFrom(m)
}

// targetsFrom makes the request ask for m's targets.
func (o *createOptions) targetsFrom(m *manifest.Capture) error {
	r := &o.request
	set := func(flag, path string, selector *metav1.LabelSelector, to *string) error {
		parsed, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		*to, o.fields[flag] = parsed.String(), path
		return nil
	}
	switch {
	case len(m.Arguments) > 0:
		r.Args = m.Arguments
	case len(m.PodNames) > 0:
		r.PodNames, o.fields["pod-names"] = m.PodNames, manifest.PathPodNames
	case m.Nodes != nil:
		if r.AllNodes = all(m.Nodes); r.AllNodes {
			return nil
		}
		return set("node-selectors", manifest.PathNodes, m.Nodes, &r.NodeSelectors)
	default:
		r.AllNamespaces = m.Namespaces != nil && all(m.Namespaces)
		inAll := m.Namespaces == nil || r.AllNamespaces
		allPods := m.Pods == nil || all(m.Pods)
		r.Everything = inAll && allPods
		if !inAll {
			if err := set("namespace-selectors", manifest.PathNamespaces, m.Namespaces, &r.NamespaceSelectors); err != nil {
				return err
			}
		}
		if !allPods {
			return set("pod-selectors", manifest.PathPods, m.Pods, &r.PodSelectors)
		}
	}
	return nil
}

// all reports a selector that selects everything.
func all(s *metav1.LabelSelector) bool { return len(s.MatchLabels)+len(s.MatchExpressions) == 0 }

// A fieldError is a mistake of flags that come from a manifest, in its words.
type fieldError struct {
	text string
	err  error
}

func (e *fieldError) Error() string { return e.text }
func (e *fieldError) Unwrap() error { return e.err }

// inManifest says a mistake of flags in words of the manifest that they come from.
func (o *createOptions) inManifest(err error) error {
	if o.source == nil || err == nil {
		return err
	}
	flags := regexp.MustCompile(`--[a-z0-9]+(-[a-z0-9]+)*`)
	say := func(text string) string {
		return flags.ReplaceAllStringFunc(text, func(flag string) string {
			if path := o.fields[flag[2:]]; path != "" {
				return path
			}
			return flag
		})
	}
	return hint.Wrap(&fieldError{o.source.Origin + ": " + say(err.Error()), err}, say(hint.Of(err)))
}

// toManifest returns what the flags say as a manifest, and what of it a manifest
// cannot say: flags to give beside -f. Secrets are refused, and so are targets
// that would become others.
func (o *createOptions) toManifest() (*manifest.Capture, []string, error) {
	m := &manifest.Capture{Name: o.name, Namespace: o.namespace}
	if o.name == "" {
		m.GenerateName = o.firstTarget() + "-"
	}
	if n := o.flags.Lookup("namespace"); n != nil && n.Changed {
		m.Namespace = n.Value.String()
	}
	if err := o.refuseSecrets(); err != nil {
		return nil, nil, err
	}
	if err := o.targetsTo(m); err != nil {
		return nil, nil, err
	}
	always := []string{"duration", "max-size", "include-metadata"}
	said := map[string]bool{}
	for _, field := range manifestFields() {
		flag := o.flags.Lookup(field.flag)
		if said[field.flag] || !flag.Changed && !slices.Contains(always, field.flag) {
			continue
		}
		said[field.flag] = true
		if values := flagValues(flag); len(values) > 0 && values[0] != "" {
			field.set(m, values)
		}
	}
	if name, key, ok := strings.Cut(m.BlobSecret, "/"); ok {
		if key != blobSecretKey {
			return nil, nil, hint.Wrap(fmt.Errorf("--blob-upload-secret %s: a manifest names the Secret only", m.BlobSecret), "its key must be "+blobSecretKey)
		}
		m.BlobSecret = name
	}
	return m, o.unsaid(said), nil
}

// refuseSecrets refuses flags whose values a manifest would show.
func (o *createOptions) refuseSecrets() error {
	for _, name := range []string{"blob-upload", "blob-upload-file"} {
		if o.flags.Changed(name) {
			return hint.Wrap(fmt.Errorf("--%s is secret and does not belong into a manifest", name),
				"put the URL into a Secret: kubectl create secret generic NAME --from-file="+blobSecretKey+"=FILE, and pass --blob-upload-secret NAME (blobUpload: NAME)")
		}
	}
	for _, name := range []string{"s3-access-key-id", "s3-secret-access-key"} {
		if o.flags.Changed(name) {
			return hint.Wrap(fmt.Errorf("--%s is secret and does not belong into a manifest", name),
				"put the keys into a Secret, as s3-access-key-id and s3-secret-access-key, and pass --s3-secret NAME (s3Upload.secretName: NAME)")
		}
	}
	return nil
}

// unsaid names the flags that were given and that no field says.
func (o *createOptions) unsaid(said map[string]bool) []string {
	elsewhere := append(targetFlags(), "name", "namespace", "dry-run", "output", "filename")
	var all []string
	o.forGiven(func(name string) {
		if !said[name] && !slices.Contains(elsewhere, name) {
			all = append(all, "no field says --"+name+": pass it beside -f, too")
		}
	})
	if o.write == "" && !o.destinations.Any() && destination.InEnvironment(os.Getenv) {
		all = append(all, "no field says where the environment has the capture stored")
	}
	return all
}

// targetsTo writes down the request's targets.
func (o *createOptions) targetsTo(m *manifest.Capture) error {
	r := &o.request
	var err error
	selector := func(flag, text string) *metav1.LabelSelector {
		s, parseErr := manifest.ParseSelector(text)
		if parseErr != nil && err == nil {
			err = hint.Wrap(fmt.Errorf("%s %q cannot be written as a manifest: %w", flag, text, parseErr), "a manifest knows =, !=, in, notin, KEY and !KEY")
		}
		return s
	}
	everything := &metav1.LabelSelector{}
	if r.AllNamespaces {
		m.Namespaces = everything
	}
	switch {
	case len(r.Args) > 0:
		m.Arguments = r.Args
		if !strings.Contains(r.Args[0], "/") { // TYPE NAME...
			m.Arguments = nil
			for _, name := range r.Args[1:] {
				m.Arguments = append(m.Arguments, r.Args[0]+"/"+name)
			}
		}
		o.argumentsTo(m)
	case len(r.PodNames) > 0:
		m.PodNames = r.PodNames
	case len(r.NodeNames) > 0 && r.NodeSelectors != "":
		return hint.Wrap(errors.New("--node-names with --node-selectors cannot be written as a manifest"), "keep one of them")
	case len(r.NodeNames) > 0:
		for _, name := range r.NodeNames {
			m.Arguments = append(m.Arguments, "node/"+name)
		}
	case r.AllNodes:
		m.Nodes = everything
	case r.NodeSelectors != "":
		m.Nodes = selector("--node-selectors", r.NodeSelectors)
	case r.Everything:
		m.Pods = everything
	case r.Selector != "":
		m.Pods = selector("-l", r.Selector)
	default:
		if r.NamespaceSelectors != "" {
			m.Namespaces = selector("--namespace-selectors", r.NamespaceSelectors)
		}
		if r.PodSelectors != "" {
			m.Pods = selector("--pod-selectors", r.PodSelectors)
		}
	}
	return err
}

// argumentsTo writes pods as what Retina knows, if there is nothing else.
func (o *createOptions) argumentsTo(m *manifest.Capture) {
	var names []string
	for _, argument := range m.Arguments {
		kind, name, _ := strings.Cut(argument, "/")
		if !slices.Contains([]string{"pod", "pods", "po"}, strings.ToLower(kind)) {
			return
		}
		names = append(names, name)
	}
	m.PodNames, m.Arguments = names, nil
}
