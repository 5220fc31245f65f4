// Command hang is a program of a node that prints something and never ends.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	signal.Ignore() // all that can be ignored
	fmt.Println("pid", os.Getpid())
	time.Sleep(time.Hour)
}
