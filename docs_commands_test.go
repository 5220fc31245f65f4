package retina_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli"
)

// TestCommandsInPagesExist looks up every `kubectl retina …` of the pages, also in
// sentences, tables and YAML: the command exists, and so do its flags.
func TestCommandsInPagesExist(t *testing.T) {
	checked := 0
	for page, text := range pages(t) {
		for _, command := range pageCommands(text) {
			checked++
			if err := commandExists(command); err != nil {
				t.Errorf("%s: kubectl retina %q: %v", page, command, err)
			}
		}
	}
	if checked < 200 {
		t.Errorf("only %d commands were found", checked)
	}
}

func TestPageCommands(t *testing.T) {
	const page = "Say `kubectl retina capture stop NAME`, or kubectl retina nothing, or `kubectl get pods`.\n" +
		"| `kubectl retina metrics top -n shop` | `kubectl retina …` |\n" +
		"```\n$ kubectl retina capture create 'a b' \\\n    -l \"app in (web)\" > file # kubectl retina x\n" +
		"kubectl retina doctor | kubectl retina capture create -f -\n```\n" +
		"```yaml\n  run: kubectl retina cleanup && kubectl retina version; true\n```\n`kubectl retina shell -- ls | wc`\n"
	want := [][]string{
		{"capture", "create", "a b", "-l", "app in (web)"}, {"doctor"}, {"capture", "create", "-f", "-"}, {"cleanup"}, {"version"},
		{"capture", "stop", "NAME"}, {"metrics", "top", "-n", "shop"}, {}, {"shell", "--", "ls"},
	}
	if got := pageCommands(page); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

func TestCommandExists(t *testing.T) {
	for command, exists := range map[string]bool{
		"capture create deploy/web -n shop --duration 5s": true, "metrics snapshot --expect x": true, "shell web-1 -- ls --all": true, "--version": true, "": true,
		"captur create": false, "capture creat": false, "capture create --durations 5s": false, "capture create --duration soon": false, "doctor -Z": false,
	} {
		if err := commandExists(strings.Fields(command)); (err == nil) != exists {
			t.Errorf("%q: %v, want that it exists: %t", command, err, exists)
		}
	}
}

// pageCommands are the words after "kubectl retina" of each command in a page's
// blocks, and then of each in its inline code.
func pageCommands(page string) [][]string {
	var all [][]string
	fence := regexp.MustCompile("(?s)```.*?\n(.*?)```")
	for _, block := range fence.FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
			all = append(all, lineCommands(line)...)
		}
	}
	for _, code := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		all = append(all, lineCommands(code[1])...)
	}
	return all
}

// lineCommands are those of a line, which a shell would run one after the other
// or as a pipe. What is written for the reader, like … and [flags], is left out.
func lineCommands(line string) [][]string {
	line, _, _ = strings.Cut(line, " #")
	var all [][]string
	inCommand := false
	previous := ""
	for _, token := range regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"|&;<>])+|[|&;<>]+`).FindAllString(line, -1) {
		word := strings.NewReplacer("'", "", `"`, "").Replace(token)
		if !strings.Contains(word, "(") {
			word = strings.TrimRight(word, ")") // (see kubectl retina plugins)
		}
		switch {
		case strings.ContainsAny(token[:1], "|&;<>"):
			inCommand = false
		case previous == "kubectl" && word == "retina":
			all = append(all, []string{})
			inCommand = true
		case inCommand && !slices.Contains([]string{"…", "...", "|"}, word) && !strings.HasPrefix(word, "["):
			all[len(all)-1] = append(all[len(all)-1], word)
		}
		previous = word
	}
	return all
}

// commandExists tells whether the program knows a command line, without running it.
func commandExists(words []string) error {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	root := cli.NewRoot(streams)
	command, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if err := command.ParseFlags(rest); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if arguments := command.Flags().Args(); command.HasSubCommands() && len(arguments) > 0 {
		return fmt.Errorf("%s has no command %q", command.CommandPath(), arguments[0])
	}
	return nil
}
