// Command plugindocs writes docs/reference/plugins.md from plugins.yaml. It is to
// be run in the module's root:
//
//	go run ./tools/plugindocs
package main

import (
	"flag"
	"fmt"
	"os"

	retina "github.com/kubectl-retina/kubectl-retina"
)

func main() {
	output := flag.String("output", "docs/reference/plugins.md", "the `file` to write")
	flag.Parse()
	if err := run(*output); err != nil {
		fmt.Fprintln(os.Stderr, "plugindocs:", err)
		os.Exit(1)
	}
}

func run(output string) error {
	catalogue, err := retina.Catalog()
	if err != nil {
		return err
	}
	return os.WriteFile(output, []byte(page(catalogue)), 0o644)
}
