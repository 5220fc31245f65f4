//go:build linux

package main

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed config
var configFiles embed.FS

// render fills the template config/name with values; a value that the template
// names and that is missing is an error.
func render(name string, values map[string]any) ([]byte, error) {
	t, err := template.New(name).
		Option("missingkey=error").
		Funcs(template.FuncMap{"base64": base64.StdEncoding.EncodeToString}).
		ParseFS(configFiles, "config/"+name)
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("template %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// renderTo writes template name to path, readable by root only.
func renderTo(path, name string, values map[string]any) error {
	data, err := render(name, values)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
