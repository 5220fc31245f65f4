//go:build linux

package dns

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// build makes a message of one question with a library that is not ours, with an
// answer, and for a code of more than four bits an OPT record.
func build(t testing.TB, id uint16, response bool, name string, typ dnsmessage.Type, code int) []byte {
	t.Helper()
	n, err := dnsmessage.NewName(name)
	must(t, err)
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, Response: response, RCode: dnsmessage.RCode(code & 15)})
	b.EnableCompression()
	must(t, b.StartQuestions())
	must(t, b.Question(dnsmessage.Question{Name: n, Type: typ, Class: dnsmessage.ClassINET}))
	if response && code == 0 {
		must(t, b.StartAnswers())
		must(t, b.AResource(dnsmessage.ResourceHeader{Name: n, Class: dnsmessage.ClassINET, TTL: 5}, dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}}))
	}
	must(t, b.StartAdditionals())
	if code > 15 {
		var header dnsmessage.ResourceHeader
		must(t, header.SetEDNS0(1232, dnsmessage.RCode(code), false))
		must(t, b.OPTResource(header, dnsmessage.OPTResource{}))
	}
	message, err := b.Finish()
	must(t, err)
	return message
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// longName has 255 bytes on the wire, the most that there may be.
func longName() string {
	return strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61) + "."
}

// raw makes a message of a header with these counts and whatever follows.
func raw(flags uint16, counts [4]byte, rest ...byte) []byte {
	b := []byte{0x12, 0x34, byte(flags >> 8), byte(flags)}
	for _, n := range counts {
		b = append(b, 0, n)
	}
	return append(b, rest...)
}

func TestParse(t *testing.T) {
	const response = 0x8000
	question := func(name ...byte) []byte { return append(name, 0, 1, 0, 1) }
	tests := []struct {
		name string
		b    []byte
		want message
		ok   bool
	}{
		{"query", build(t, 7, false, "Web.Shop.SVC.", dnsmessage.TypeAAAA, 0), message{id: 7, question: true, name: "web.shop.svc", typ: 28}, true},
		{"answer", build(t, 7, true, "example.com.", dnsmessage.TypeA, 0), message{id: 7, response: true, question: true, name: "example.com", typ: 1}, true},
		{"NXDOMAIN", build(t, 7, true, "example.com.", dnsmessage.TypeA, 3), message{id: 7, response: true, code: 3, question: true, name: "example.com", typ: 1}, true},
		{"extended code", build(t, 7, true, "example.com.", dnsmessage.TypeA, 23), message{id: 7, response: true, code: 23, question: true, name: "example.com", typ: 1}, true},
		{"the longest name", build(t, 7, false, longName(), dnsmessage.TypeA, 0), message{id: 7, question: true, name: strings.TrimSuffix(longName(), "."), typ: 1}, true},
		{"root", raw(0, [4]byte{1}, question(0)...), message{id: 0x1234, question: true, name: ".", typ: 1}, true},
		{"escapes", raw(0, [4]byte{1}, question(6, 'A', '.', '\\', ' ', 0xff, '~', 0)...), message{id: 0x1234, question: true, name: `a\.\\\032\255~`, typ: 1}, true},
		{"refused without a question", raw(response|5, [4]byte{}), message{id: 0x1234, response: true, code: 5}, true},
		{"the code of a question-less one", raw(response|1, [4]byte{0, 0, 0, 1}, 0, 0, 41, 0, 0, 1, 0, 0, 0, 0, 0), message{id: 0x1234, response: true, code: 17}, true},
		{"notification", raw(4<<11, [4]byte{1}, question(0)...), message{id: 0x1234, opcode: 4, question: true, name: ".", typ: 1}, true},
		{"answer cut after its question", build(t, 7, true, "example.com.", dnsmessage.TypeA, 0)[:12+13+4], message{id: 7, response: true, question: true, name: "example.com", typ: 1}, true},
		{"cut in the name", build(t, 7, false, "example.com.", dnsmessage.TypeA, 0)[:20], message{id: 7}, false},
		{"cut in the type", raw(0, [4]byte{1}, 0, 0, 1, 0), message{id: 0x1234}, false},
		{"cut header", make([]byte, 11), message{}, false},
		{"query without a question", raw(0, [4]byte{}), message{id: 0x1234}, false},
		{"opcode that nobody has", raw(9<<11, [4]byte{1}, question(0)...), message{id: 0x1234, opcode: 9}, false},
		{"pointer to itself", raw(0, [4]byte{1}, question(0xc0, 12)...), message{id: 0x1234}, false},
		{"pointer forward", raw(0, [4]byte{1}, question(0xc0, 14, 0)...), message{id: 0x1234}, false},
		{"pointer into the header", raw(0, [4]byte{1}, question(0xc0, 4)...), message{id: 0x1234}, false},
		{"label of 64", raw(0, [4]byte{1}, append([]byte{64}, make([]byte, 70)...)...), message{id: 0x1234}, false},
		{"name of 256", raw(0, [4]byte{1}, question(append(bytes.Repeat(append([]byte{63}, bytes.Repeat([]byte{'a'}, 63)...), 4), 0)...)...), message{id: 0x1234}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parse(test.b)
			if ok != test.ok || got != test.want {
				t.Errorf("%+v %v, want %+v %v", got, ok, test.want, test.ok)
			}
		})
	}
}

// A server may compress the name of a question too, though there is nothing to gain.
func TestPointerBack(t *testing.T) {
	b := append(make([]byte, headerLen), 1, 'a', 0, 1, 'B', 0xc0, 12, 9)
	name, next, ok := appendName(nil, b, headerLen+3)
	if string(name) != "b.a" || next != len(b)-1 || !ok {
		t.Errorf("%q, the rest at %d, %v", name, next, ok)
	}
}

func TestNames(t *testing.T) {
	for code, want := range map[uint16]string{0: "NOERROR", 3: "NXDOMAIN", 5: "REFUSED", 12: "RCODE12", 16: "BADVERS", 17: "RCODE17", 23: "BADCOOKIE", 4095: "RCODE4095"} {
		if got := codeName(code); got != want {
			t.Errorf("code %d is %s, want %s", code, got, want)
		}
	}
	for typ, want := range map[uint16]string{1: "A", 28: "AAAA", 65: "HTTPS", 123: "TYPE123", 0: "TYPE0"} {
		if got, known := typeName(typ); got != want || known == strings.HasPrefix(want, "TYPE") {
			t.Errorf("type %d is %s, known %v", typ, got, known)
		}
	}
}

// What another parser understands we understand too, and alike.
func FuzzParse(f *testing.F) {
	f.Add(build(f, 7, true, "example.com.", dnsmessage.TypeA, 23))
	f.Add(build(f, 7, false, longName(), dnsmessage.TypeAAAA, 0))
	f.Add(raw(0x8000, [4]byte{2}, 1, 'a', 0, 0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := parse(b)
		if got.question && got.name == "" || len(got.name) > 4*maxNameLen {
			t.Errorf("name %q", got.name)
		}
		var p dnsmessage.Parser
		header, err := p.Start(b)
		if err != nil {
			return
		}
		question, err := p.Question()
		if err != nil || got.opcode > opcodeLast {
			return
		}
		name := strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))
		plain := !slices.ContainsFunc([]byte(name), func(c byte) bool { return c <= ' ' || c >= 0x7f || c == '\\' })
		want := fmt.Sprint(header.ID, header.Response, name, uint16(question.Type))
		if !ok || plain && name != "" && fmt.Sprint(got.id, got.response, got.name, got.typ) != want {
			t.Errorf("%+v %v, another parser says %s", got, ok, want)
		}
	})
}
