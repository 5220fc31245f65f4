// Command ociimage writes the image of one of the programs, for several
// architectures and without a container engine, as one OCI archive: a tar of an
// OCI image layout. containerd (ctr images import), kind, podman and skopeo read it.
//
//	ociimage [--program NAME] --binary amd64=FILE --binary arm64=FILE [--reference REF] --output FILE
//
// The same programs give the same bytes: all times in the archive are
// SOURCE_DATE_EPOCH (seconds, see https://reproducible-builds.org/specs/source-date-epoch/),
// or 1970 without it.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	err := run(os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH"), os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ociimage:", err)
		os.Exit(1)
	}
}

func run(args []string, sourceDateEpoch string, stdout, stderr io.Writer) error {
	var executables []executable
	flags := flag.NewFlagSet("ociimage", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("binary", "`ARCH=FILE`: the program for linux/ARCH; once for each architecture", func(value string) error {
		arch, path, ok := strings.Cut(value, "=")
		if !ok || arch == "" || path == "" {
			return errors.New("not of the form ARCH=FILE")
		}
		if slices.ContainsFunc(executables, func(exe executable) bool { return exe.arch == arch }) {
			return fmt.Errorf("a second one for %s", arch)
		}
		executables = append(executables, executable{arch: arch, path: path})
		return nil
	})
	chosen := programs()[0]
	flags.Func("program", "the `name` of the image's only file: retina-collector (default) or kubectl-retina", func(name string) error {
		i := slices.IndexFunc(programs(), func(p program) bool { return p.name == name })
		if i < 0 {
			return errors.New("it is neither retina-collector nor kubectl-retina")
		}
		chosen = programs()[i]
		return nil
	})
	reference := flags.String("reference", "", "the image's `name`, with registry and tag (default that of the release)")
	output := flags.String("output", "", "the archive `file` to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *output == "" || len(executables) == 0 || flags.NArg() > 0 {
		return errors.New("--binary and --output are needed, and nothing but flags")
	}
	created, err := parseEpoch(sourceDateEpoch)
	if err != nil {
		return err
	}
	name := cmp.Or(*reference, chosen.reference)
	img, err := newImage(chosen, executables, name, created)
	if err != nil {
		return err
	}
	if err := writeArchive(*output, img.index, created); err != nil {
		return err
	}
	for _, p := range img.platforms {
		fmt.Fprintf(stdout, "linux/%s: %.1f MB compressed\n", p.arch, float64(p.size)/1e6)
	}
	fmt.Fprintf(stdout, "%s: %s\n", *output, name)
	return nil
}

// parseEpoch returns the time of a SOURCE_DATE_EPOCH, and that of 0 without one.
func parseEpoch(value string) (time.Time, error) {
	if value == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q is not a number of seconds", value)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
