package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// MaxBytes bounds the text that is read.
const MaxBytes = 4 << 20

// Parsed is what a text holds.
type Parsed struct {
	Captures []*Capture
	// Skipped says what is not a Capture and was left out: a Secret, which Retina's
	// examples have beside the Capture that names it.
	Skipped []string
}

// Parse reads the manifests of text: YAML with any number of documents, or JSON;
// Captures, or Lists of them. Origin is the text's name in messages. An error
// tells all mistakes of the first document that has one.
func Parse(origin string, text []byte) (*Parsed, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("%s: is larger than %d bytes", origin, MaxBytes)
	}
	documents, err := split(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	all := &Parsed{}
	for i, text := range documents {
		name := origin
		if len(documents) > 1 {
			name = fmt.Sprintf("%s, document %d", origin, i+1)
		}
		if err := all.add(name, text); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(all.Captures) == 0 {
		return nil, hint.Wrap(fmt.Errorf("%s: no %s in it", origin, Kind),
			"it should have apiVersion: "+APIVersion+" and kind: "+Kind+"; to see one: kubectl retina capture create ... --dry-run=client -o yaml")
	}
	return all, nil
}

// split returns the documents of text that are not empty.
func split(text []byte) ([][]byte, error) {
	text = bytes.TrimPrefix(text, []byte("\uFEFF")) // byte order mark
	var documents [][]byte
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		decoder := json.NewDecoder(bytes.NewReader(text))
		for {
			var document json.RawMessage
			switch err := decoder.Decode(&document); {
			case errors.Is(err, io.EOF):
				return documents, nil
			case err != nil && len(documents) == 0:
				return [][]byte{text}, nil // YAML can begin like that, too
			case err != nil:
				return nil, fmt.Errorf("JSON: %w", err)
			}
			var compact bytes.Buffer // YAML has no tabs
			if err := json.Compact(&compact, document); err != nil {
				return nil, fmt.Errorf("JSON: %w", err)
			}
			documents = append(documents, compact.Bytes())
		}
	}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, err
		}
		if !blank(document) {
			documents = append(documents, document)
		}
	}
}

// blank reports a document of comments and empty lines.
func blank(document []byte) bool {
	for line := range bytes.Lines(document) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && string(line) != "---" {
			return false
		}
	}
	return true
}

// add parses one document.
func (p *Parsed) add(origin string, text []byte) error {
	clean, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return errors.New(strings.TrimPrefix(oneText(err), "yaml: "))
	}
	decoder := json.NewDecoder(bytes.NewReader(clean))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return err
	}
	return p.object(origin, "", tree)
}

// oneText is the text of a YAML error in one line.
func oneText(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// object parses one object, at a path within its document.
func (p *Parsed) object(origin, path string, tree any) error {
	m, ok := tree.(map[string]any)
	if !ok {
		d := &decoder{}
		d.wrong(path, tree, "a mapping, with apiVersion: "+APIVersion+" and kind: "+Kind)
		return d.err()
	}
	version, _ := m["apiVersion"].(string)
	kind, _ := m["kind"].(string)
	switch {
	case version == "v1" && kind == "Secret":
		p.Skipped = append(p.Skipped, fmt.Sprintf("%s: %s is not created", origin, secretName(m)))
		return nil
	case version == "v1" && kind == "List", version == APIVersion && kind == listKind:
		return p.list(origin, path, m)
	case kind != Kind || version != APIVersion:
		return wrongKind(path, version, kind)
	}
	d := &decoder{}
	var document document
	d.value(path, m, reflect.ValueOf(&document).Elem())
	if err := d.err(); err != nil {
		return err
	}
	c := document.capture(d, path)
	if err := d.err(); err != nil {
		return err
	}
	c.Origin, c.Ignored = origin, d.ignored
	p.Captures = append(p.Captures, c)
	return nil
}

func secretName(m map[string]any) string {
	metadata, _ := m["metadata"].(map[string]any)
	if name, ok := metadata["name"].(string); ok && name != "" {
		return "Secret " + key(name)
	}
	return "a Secret"
}

func (p *Parsed) list(origin, path string, m map[string]any) error {
	d := &decoder{}
	var list struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   any    `json:"metadata"`
		Items      []any  `json:"items"`
	}
	d.value(path, m, reflect.ValueOf(&list).Elem())
	if err := d.err(); err != nil {
		return err
	}
	if path != "" {
		d.problem(path, "is a List in a List")
		return d.err()
	}
	for i, item := range list.Items {
		if err := p.object(origin, fmt.Sprintf("items[%d]", i), item); err != nil {
			return err
		}
	}
	return nil
}

// wrongKind is the error for an object that is no Capture.
func wrongKind(path, version, kind string) error {
	where := func(field string) string { return join(path, field) }
	want := "write apiVersion: " + APIVersion + " and kind: " + Kind
	switch {
	case kind == "" || version == "":
		missing := where("kind")
		if version == "" {
			missing = where("apiVersion")
		}
		return hint.Wrap(fmt.Errorf("%s: is missing", missing), want)
	case kind == Kind || kind == listKind:
		return hint.Wrap(fmt.Errorf("%s: %q is not %s", where("apiVersion"), key(version), APIVersion), want)
	}
	return hint.Wrap(fmt.Errorf("%s: %q of %q is not a %s", where("kind"), key(kind), key(version), Kind),
		"take other objects out of the file and apply them with kubectl")
}
