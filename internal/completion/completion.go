// Package completion is the program by which kubectl completes the command line
// of this plugin. kubectl, from 1.26, runs kubectl_complete-PLUGIN with the words
// after the plugin's name, and reads what cobra's __complete prints.
package completion

// marker is in every such program of ours, and tells it from others of its name.
const marker = "written by kubectl retina"

// Program is a file to put into a directory of the PATH.
type Program struct {
	Name    string // of the file
	Content string
}

// For returns the program for an operating system, by Go's name of it. It runs
// the kubectl-retina in the PATH, so it need not change when that does.
func For(goos string) Program {
	if goos == "windows" {
		return Program{"kubectl_complete-retina.cmd", "@rem " + marker + ": completes kubectl retina\r\n@kubectl-retina __complete %*\r\n"}
	}
	return Program{"kubectl_complete-retina", "#!/bin/sh\n# " + marker + ": completes kubectl retina\nexec kubectl-retina __complete \"$@\"\n"}
}
