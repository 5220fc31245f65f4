//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/kubectl-retina/kubectl-retina/e2e/images"
)

// writeImages builds the images that every node has and writes them as one
// archive to path, beside which it needs room for programs.
func (p plan) writeImages(ctx context.Context, path string) error {
	root, err := checkout(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "images-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	err = goCommand(ctx, root, "build", "-ldflags=-s -w", "-o", dir+"/", "./e2e/images/pause", "./e2e/images/traffic")
	if err != nil {
		return fmt.Errorf("test images: %w", err)
	}
	applets, err := exec.CommandContext(ctx, busyboxPath, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", busyboxPath, err)
	}
	return images.Write(path,
		program(pauseImage, "pause", filepath.Join(dir, "pause")),
		program(trafficImage, "traffic", filepath.Join(dir, "traffic")),
		program(corednsImage, "coredns", p.corednsPath()),
		images.Busybox(busyboxImage, busyboxPath, string(applets)),
	)
}

// program describes an image that holds one static program and runs it.
func program(reference, name, path string) images.Image {
	return images.Image{
		Reference:  reference,
		Files:      map[string]string{"bin/" + name: path},
		Entrypoint: []string{"/bin/" + name},
	}
}
