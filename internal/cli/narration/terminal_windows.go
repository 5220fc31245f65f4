package narration

import (
	"os"

	"golang.org/x/sys/windows"
)

// takesEscapes makes the console understand escape sequences, and reports
// whether it does. The mode is the console's and is left so.
func takesEscapes(f *os.File) bool {
	console := windows.Handle(f.Fd())
	var mode uint32
	if err := windows.GetConsoleMode(console, &mode); err != nil {
		return false
	}
	return windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
