// Command release makes what a release publishes out of built programs: an
// archive of each with its licences, a list of what each is made of (CycloneDX),
// the image archives, the manifest for krew, and the checksums of all that.
//
//	release --programs DIR --platform OS/ARCH... --image FILE... --output DIR
//
// The same programs give the same bytes: names are sorted, no file has an owner,
// and all times are SOURCE_DATE_EPOCH (seconds), or 1970 without it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH"), version.Get(), os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// config is what to release.
type config struct {
	programs  string // directory of PROGRAM-OS-ARCH[.exe]
	platforms []platform
	images    []string // OCI archives
	output    string   // directory, made anew
	licence   string   // file with our own licence
	build     version.Info
	time      time.Time
}

// platform is an operating system and an architecture, by Go's names.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }

func run(ctx context.Context, args []string, sourceDateEpoch string, build version.Info, stdout, stderr io.Writer) error {
	c := config{build: build}
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.programs, "programs", "dist", "`directory` of the built programs, PROGRAM-OS-ARCH[.exe]")
	flags.StringVar(&c.output, "output", "dist/release", "`directory` to write; what was in it is removed")
	flags.StringVar(&c.licence, "licence", "LICENSE", "`file` with the licence of the programs")
	flags.Func("platform", "`OS/ARCH` to release for; once for each", func(value string) error {
		system, arch, ok := strings.Cut(value, "/")
		if !ok || system == "" || arch == "" {
			return errors.New("not of the form OS/ARCH")
		}
		c.platforms = append(c.platforms, platform{system, arch})
		return nil
	})
	flags.Func("image", "`file`: an image archive to release; once for each", func(value string) error {
		c.images = append(c.images, value)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if len(c.platforms) == 0 || flags.NArg() > 0 {
		return errors.New("--platform is needed, and nothing but flags")
	}
	seconds, err := strconv.ParseInt(sourceDateEpoch, 10, 64)
	if sourceDateEpoch != "" && (err != nil || seconds < 0) {
		return fmt.Errorf("SOURCE_DATE_EPOCH %q is not a number of seconds", sourceDateEpoch)
	}
	c.time = time.Unix(seconds, 0).UTC()
	if c.isRelease() && strings.HasSuffix(build.Commit, "-dirty") {
		return fmt.Errorf("%s is to be made of files that are in no commit (%s): commit them first", build.Version, build.Commit)
	}
	return c.make(ctx, stdout)
}

// isRelease tells a version that somebody chose from the one between releases.
func (c config) isRelease() bool { return !strings.HasSuffix(c.build.Version, "-dev") }
