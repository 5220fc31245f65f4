//go:build !unit

package packetprint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/tsharktest"
)

// capture writes the Ethernet samples into a file and returns them too.
func capture(t *testing.T, all []sample) (path string, kept []sample) {
	t.Helper()
	file := pcapng.Section{Application: "test"}.Append(nil)
	file = pcapng.Interface{Name: "eth0", LinkType: linkEthernet}.Append(file)
	for _, s := range all {
		if s.linkType != 0 {
			continue
		}
		at := began().Add(time.Duration(len(kept)) * time.Millisecond)
		file = pcapng.AppendEPB(file, 0, at.UnixNano(), uint32(len(s.data)), uint32(max(s.wireLen, len(s.data))), pcapng.FlagOutbound, s.data)
		kept = append(kept, s)
	}
	path = filepath.Join(t.TempDir(), "file.pcapng")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, kept
}

// Without names, lines are tcpdump's own.
func TestLinesAreThoseOfTcpdump(t *testing.T) {
	path, all := capture(t, slices.Concat(handshake(t), dnsSamples(t), otherSamples(t)))
	want := strings.Split(tsharktest.Run(t, "tcpdump", "-nn", "-t", "-r", path), "\n")
	want = slices.DeleteFunc(want, func(line string) bool { return line == "" || line[0] == '\t' || line[0] == ' ' })
	var out bytes.Buffer
	p := New(&out, Options{})
	p.SetInterface(0, Interface{LinkType: linkEthernet})
	compared := 0
	for _, s := range all {
		out.Reset()
		if err := p.Write(0, began(), s.wireLen, Unknown, s.data); err != nil {
			t.Fatal(err)
		}
		got := strings.TrimSuffix(out.String()[len("15:04:05.123456 "):], "\n")
		line := slices.IndexFunc(want, func(line string) bool { return line == got })
		if s.exact && line < 0 {
			t.Errorf("%s: tcpdump has no line\n%s", s.name, got)
		}
		if s.exact {
			compared++
		}
	}
	if compared < 20 {
		t.Errorf("only %d lines were compared", compared)
	}
	if t.Failed() {
		t.Log("tcpdump has\n" + strings.Join(want, "\n"))
	}
}

// The bytes below a line are those that tcpdump prints.
func TestDumpIsThatOfTcpdump(t *testing.T) {
	path, all := capture(t, slices.Concat(handshake(t), otherSamples(t)))
	var want, got []string
	for line := range strings.Lines(tsharktest.Run(t, "tcpdump", "-nn", "-XX", "-r", path)) {
		if strings.HasPrefix(line, "\t0x") {
			want = append(want, strings.TrimRight(line, " \n"))
		}
	}
	for _, text := range printed(t, Full, all) {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "\t0x") {
				got = append(got, strings.TrimRight(line, " \n"))
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d lines, want %d:\n%s\nwant\n%s", len(got), len(want), strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Wireshark finds the same in the packets.
func TestFieldsAreThoseOfWireshark(t *testing.T) {
	path, all := capture(t, slices.Concat(handshake(t), dnsSamples(t), otherSamples(t)))
	fields := []string{"ip.src", "ipv6.src", "tcp.srcport", "udp.dstport", "tcp.seq", "tcp.seq_raw", "tcp.ack", "tcp.window_size_value", "tcp.len", "dns.id",
		"dns.qry.name", "dns.flags.response", "http.request.method", "http.response.code", "http.host", "tls.handshake.extensions_server_name", "vlan.id", "icmp.type"}
	args := []string{"-r", path, "-o", "tcp.relative_sequence_numbers:TRUE", "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-d", "tcp.port==8443,tls",
		"-T", "fields", "-E", "separator=|", "-E", "occurrence=f", "-n"}
	for _, field := range fields {
		args = append(args, "-e", field)
	}
	rows := strings.Split(strings.TrimSuffix(tsharktest.Run(t, "tshark", args...), "\n"), "\n")
	if len(rows) != len(all) {
		t.Fatalf("tshark has %d packets of %d", len(rows), len(all))
	}
	compared := 0
	for i, text := range printed(t, JSON, all) {
		var r Record
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		ours := flat(&r)
		if all[i].name == "half a ClientHello" { // Wireshark wants all of it
			delete(ours, "tls.handshake.extensions_server_name")
		}
		for k, theirs := range strings.Split(rows[i], "|") {
			if got, ok := ours[fields[k]]; ok {
				compared++
				if got != theirs {
					t.Errorf("%s: %s is %q, Wireshark has %q", all[i].name, fields[k], got, theirs)
				}
			}
		}
	}
	if compared < 150 {
		t.Errorf("only %d fields were compared", compared)
	}
}

// flat is what a record says, by Wireshark's names.
func flat(r *Record) map[string]string {
	f := make(map[string]string)
	if e := r.Ethernet; e != nil && len(e.VLANs) > 0 {
		f["vlan.id"] = fmt.Sprint(e.VLANs[0])
	}
	if r.IP != nil {
		name := "ip.src"
		if r.Source.Address.Is6() {
			name = "ipv6.src"
		}
		f[name] = r.Source.Address.String()
	}
	if t := r.TCP; t != nil {
		for name, n := range map[string]int{"tcp.srcport": int(*r.Source.Port), "tcp.seq": int(t.Seq), "tcp.seq_raw": int(t.RawSeq), "tcp.ack": int(t.Ack),
			"tcp.window_size_value": int(t.Window), "tcp.len": t.Length} {
			f[name] = strconv.Itoa(n)
		}
	}
	if r.UDP != nil {
		f["udp.dstport"] = fmt.Sprint(*r.Destination.Port)
	}
	if d := r.DNS; d != nil {
		f["dns.id"], f["dns.flags.response"] = fmt.Sprintf("0x%04x", d.ID), strconv.Itoa(map[bool]int{true: 1}[d.Response])
		if len(d.Questions) > 0 && !strings.Contains(d.Questions[0].Name, `\`) {
			f["dns.qry.name"] = strings.TrimSuffix(d.Questions[0].Name, ".")
		}
	}
	if h := r.HTTP; h != nil {
		f["http.request.method"], f["http.host"], f["http.response.code"] = h.Method, h.Host, ""
		if h.Status != 0 {
			f["http.response.code"] = strconv.Itoa(h.Status)
		}
	}
	if r.TLS != nil {
		f["tls.handshake.extensions_server_name"] = r.TLS.SNI
	}
	if r.ICMP != nil && r.Source.Address.Is4() {
		f["icmp.type"] = strconv.Itoa(int(r.ICMP.Type))
	}
	return f
}
