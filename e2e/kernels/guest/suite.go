//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/plan"
	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/verdict"
)

// suite runs one program of tests.
func (m *machine) suite(s plan.Suite) {
	end := &verdict.Suite{Name: s.Name}
	before, err := objects()
	if err == nil {
		var tests []verdict.Test
		tests, err = runTests(s)
		for i := range tests {
			m.send(verdict.Message{Test: &tests[i]})
		}
		end.Left = left(before)
	}
	if err != nil {
		end.Error = err.Error()
	}
	m.send(verdict.Message{Suite: end})
}

// runTests runs the program. The error is why it ended badly though no test has
// failed.
func runTests(s plan.Suite) ([]verdict.Test, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.Limit+30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Program, "-test.v=test2json", "-test.timeout="+s.Limit.String(), "-test.run="+s.Run)
	cmd.Dir = s.Dir
	cmd.WaitDelay = time.Second
	output, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = write, write
	err = cmd.Start()
	write.Close()
	if err != nil {
		return nil, err
	}
	p := &parser{suite: s.Name, output: map[string]string{}, open: map[string]bool{}}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		// What the tests started may hold the pipe.
		_ = output.SetReadDeadline(time.Now().Add(time.Second))
		ended <- err
	}()
	p.read(output)
	err = <-ended
	p.finish(err)
	if slices.ContainsFunc(p.tests, func(t verdict.Test) bool { return t.Result == verdict.Fail }) {
		err = nil
	}
	if err == nil && len(p.tests) == 0 {
		err = errors.New("no test has run")
	}
	return p.tests, err
}

// parser reads what a program of tests prints with -test.v=test2json.
type parser struct {
	suite   string
	current string // the test whose output comes
	output  map[string]string
	open    map[string]bool // began and have no result
	order   []string
	tests   []verdict.Test
}

// mark begins the lines that are the testing package's own.
const mark = "\x16"

// read takes everything and passes it on to the console.
func (p *parser) read(from io.Reader) {
	lines := bufio.NewReaderSize(from, 4096)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			fmt.Print(line)
			p.line(strings.TrimSuffix(line, "\n"))
		}
		if err != nil {
			return
		}
	}
}

func (p *parser) line(line string) {
	own, ok := strings.CutPrefix(line, mark)
	if !ok {
		p.keep(p.current, line)
		return
	}
	words := strings.Fields(own)
	if len(words) < 3 {
		return
	}
	switch name := words[2]; words[0] + words[1] {
	case "===RUN":
		p.current, p.open[name] = name, true
		p.order = append(p.order, name)
	case "===CONT", "===NAME", "===PAUSE":
		p.current = name
	case "---PASS:":
		p.end(name, verdict.Pass)
	case "---FAIL:":
		p.end(name, verdict.Fail)
	case "---SKIP:":
		p.end(name, verdict.Skip)
	}
}

// keep keeps the end of a test's output.
func (p *parser) keep(name, line string) {
	all := p.output[name] + strings.TrimSpace(line) + "\n"
	p.output[name] = all[max(0, len(all)-verdict.MaxOutput):]
}

func (p *parser) end(name, result string) {
	t := verdict.Test{Suite: p.suite, Name: name, Result: result}
	if result != verdict.Pass {
		t.Output = p.output[name]
	}
	delete(p.output, name)
	delete(p.open, name)
	p.tests = append(p.tests, t)
}

// finish fails the tests that have begun and not ended.
func (p *parser) finish(err error) {
	last := p.output[p.current]
	for _, name := range p.order {
		if p.open[name] {
			p.keep(name, fmt.Sprintf("%s\nhas not ended: %v", last, err))
			p.end(name, verdict.Fail)
		}
	}
}
