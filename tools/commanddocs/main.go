// Command commanddocs writes docs/reference/commands from the commands' own help
// texts. It is to be run in the module's root:
//
//	go run ./tools/commanddocs
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli"
)

func main() {
	output := flag.String("output", "docs/reference/commands", "the `directory` to write, whose pages are replaced")
	flag.Parse()
	if err := run(*output); err != nil {
		fmt.Fprintln(os.Stderr, "commanddocs:", err)
		os.Exit(1)
	}
}

func run(output string) error {
	all, err := pages()
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(output, "*.md"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if all[filepath.Base(name)] == "" {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		return err
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(output, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pages are the pages of all commands by file name.
func pages() (map[string]string, error) {
	root := cli.NewRoot(genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard})
	root.InitDefaultCompletionCmd() // only Execute does it otherwise
	all := map[string]string{}
	return all, add(root, all)
}

// add adds the page of cmd, and those of the commands below it.
func add(cmd *cobra.Command, all map[string]string) error {
	cmd.DisableAutoGenTag = true // it holds a date
	cmd.InitDefaultHelpFlag()
	var page bytes.Buffer
	if err := doc.GenMarkdownCustom(cmd, &page, func(link string) string { return link }); err != nil {
		return err
	}
	all[strings.ReplaceAll(cmd.CommandPath(), " ", "_")+".md"] = tidy(page.String())
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && !c.IsAdditionalHelpTopicCommand() {
			if err := add(c, all); err != nil {
				return err
			}
		}
	}
	return nil
}

// tidy makes a page the same on every machine: kubectl's defaults may hold the
// home directory, and trailing spaces are nobody's intention.
func tidy(page string) string {
	if home, err := os.UserHomeDir(); err == nil && home != "/" {
		page = strings.ReplaceAll(page, home, "~")
	}
	lines := strings.Split(page, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}
