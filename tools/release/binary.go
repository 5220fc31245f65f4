package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"runtime/debug"
)

// binary is a built program and what the Go command has written into it.
type binary struct {
	content []byte
	info    *debug.BuildInfo
}

// readBinary reads a program and refuses one that is for another platform, or
// that shows where it was built.
func readBinary(path string, on platform) (binary, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return binary{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return binary{}, fmt.Errorf("%s: %w", path, err)
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	for key, want := range map[string]string{"GOOS": on.os, "GOARCH": on.arch, "CGO_ENABLED": "0", "-trimpath": "true"} {
		if settings[key] != want {
			return binary{}, fmt.Errorf("%s was built with %s=%s, not %s", path, key, settings[key], want)
		}
	}
	return binary{content, info}, nil
}

// modules are those that a program is built of but for its own.
func modules(info *debug.BuildInfo) []debug.Module {
	var all []debug.Module
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, *m)
	}
	return all
}
