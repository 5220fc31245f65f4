//go:build linux

package nodeinfo

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
)

func TestDirectoryName(t *testing.T) {
	taken := map[string]bool{}
	for _, test := range []struct{ target, want string }{
		{"pod shop/web-1", "pod-shop-web-1"},
		{"pod shop-web/1", "pod-shop-web-1-2"},
		{"pod shop/web/1", "pod-shop-web-1-3"},
		{"pod ../../etc", "pod-..-..-etc"},
		{"pod a/..", "pod-a-.."},
		{"", "pod-"},
		{"pod a/b\x00\nc é", "pod-a-b--c--"},
		{"pod " + strings.Repeat("x", 300), "pod-" + strings.Repeat("x", 196)},
	} {
		if got := directoryName(test.target, taken); got != test.want {
			t.Errorf("%q is in %q, want %q", test.target, got, test.want)
		}
	}
}

func TestCgroupPod(t *testing.T) {
	const uid, static = "0aa1b2c3-1111-2222-3333-444455556666", "0123456789abcdef0123456789abcdef"
	id := strings.Repeat("0123456789abcdef", 4)
	names := cgroupNames([]string{uid, static})
	for _, test := range []struct{ cgroup, pod, container string }{
		{"0::/kubepods/burstable/pod" + uid + "/" + id, uid, id},
		{"0::/kubepods.slice/kubepods-pod0aa1b2c3_1111_2222_3333_444455556666.slice/cri-containerd-" + id + ".scope\n", uid, id},
		{"0::/kubepods/burstable/pod" + static + "/1", static, ""},
		{"0::/kubepods/burstable/pod1aa1b2c3-1111-2222-3333-444455556666/" + id, "", id},
		{"0::/kubepods/pod0aa1b2c3", "", ""},
		{"0::/pod", "", ""},
		{"", "", ""},
	} {
		if got := cgroupPod(test.cgroup, names); got != test.pod {
			t.Errorf("%q is of pod %q, want %q", test.cgroup, got, test.pod)
		}
		if got := containerID(test.cgroup); got != test.container {
			t.Errorf("%q is of container %q, want %q", test.cgroup, got, test.container)
		}
	}
}

func TestSocketInode(t *testing.T) {
	for link, want := range map[string]uint32{"socket:[42]": 42, "socket:[4294967295]": 1<<32 - 1, "socket:[4294967296]": 0, "pipe:[3]": 0, "socket:[]": 0, "": 0} {
		if got, ok := socketInode(link); ok != (want != 0) || ok && got != want {
			t.Errorf("%q is %d, %v", link, got, ok)
		}
	}
}

func TestDetails(t *testing.T) {
	on := true
	for _, test := range []struct {
		value any
		want  string
	}{
		{&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx"}, VxlanId: 42, Port: 4789, L2miss: true}, "vxlan_id 42 l2miss true port 4789"},
		{&netlink.Bridge{VlanFiltering: &on}, "vlan_filtering true"},
		{struct{ Actions []netlink.Action }{[]netlink.Action{&netlink.MirredAction{Ifindex: 3}}}, "actions [mirred (ifindex 3)]"},
		{struct{ Key []byte }{[]byte{1, 255}}, "key 0x01ff"},
		{(*netlink.Vxlan)(nil), ""},
		{nil, ""},
	} {
		if got := details(test.value, "LinkAttrs"); got != test.want {
			t.Errorf("%T: %q, want %q", test.value, got, test.want)
		}
	}
}

func TestKeyText(t *testing.T) {
	for _, test := range []struct {
		typ  string
		key  []byte
		want string
	}{
		{"ipv4_addr", []byte{10, 0, 0, 1}, "10.0.0.1"},
		{"ipv4_addr . inet_proto . inet_service", []byte{10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0}, "10.0.0.1 . tcp . 80"},
		{"inet_service", []byte{1, 187}, "443"},
		{"ifname", append([]byte("eth0"), make([]byte, 12)...), "eth0"},
		{"ipv4_addr", []byte{10}, "0x0a"},
		{"verdict", []byte{1, 2}, "0x0102"},
		{"", []byte{1}, "0x01"},
		{"ipv4_addr", []byte{10, 0, 0, 1, 9}, "10.0.0.1 . 0x09"},
	} {
		if got := keyText(test.typ, test.key); got != test.want {
			t.Errorf("%s %x: %q, want %q", test.typ, test.key, got, test.want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for want, verdict := range map[string]expr.Verdict{
		"drop": {Kind: expr.VerdictDrop}, "jump KUBE": {Kind: expr.VerdictJump, Chain: "KUBE"}, "77": {Kind: 77},
	} {
		if got := verdictText(verdict); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, broken := range [][]byte{nil, {1}, {8, 0, 1, 0, 0, 0}, {200, 0, 1, 0, 0, 0, 0, 0}} {
		if v, ok := decodeVerdict(broken); ok {
			t.Errorf("%x is %v", broken, v)
		}
	}
}

func TestKeysAreLeftOut(t *testing.T) {
	for path, want := range map[string]bool{
		"/proc/sys/net/ipv4/tcp_fastopen_key":            true,
		"/proc/sys/net/ipv6/conf/eth0/stable_secret":     true,
		"/proc/sys/net/ipv4/tcp_keepalive_time":          false,
		"/proc/sys/net/ipv4/ip_forward":                  false,
		"/proc/sys/net/ipv4/conf/eth_key/disable_policy": false,
	} {
		if got := isKey(path); got != want {
			t.Errorf("%s is a key: %v", path, got)
		}
	}
	got := withoutKeys("root=/dev/sda1 quiet rd.iscsi.password=hunter2 netroot=iscsi:u:p@h systemd.set_credential=a:b TOKEN=x\n")
	if want := "root=/dev/sda1 quiet rd.iscsi.password=... netroot=... systemd.set_credential=... TOKEN=..."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSysctlText(t *testing.T) {
	got := sysctlText("/proc/sys/net/ipv4/conf/eth0.100/rp_filter", []byte("1\n"))
	if want := "net.ipv4.conf.eth0/100.rp_filter = 1\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := sysctlText("/proc/sys/net/x", []byte("a\nb\n")); got != "net.x = a\nnet.x = b\n" {
		t.Errorf("%q", got)
	}
}

func TestPrintable(t *testing.T) {
	if got := string(printable([]byte("a\x1b[31m\tb\x00\r\nü\u009bé\x7f"))); got != "a?[31m\tb??\nü\xc2?é?" {
		t.Errorf("%q", got)
	}
	if got := oneLine("a\nb\x1b"); got != "a; b?" {
		t.Errorf("%q", got)
	}
}

func newRecorder(t *testing.T, file, total int64) *recorder {
	return &recorder{ctx: context.Background(), dir: t.TempDir(), limit: file, total: &budget{left: total}}
}

func TestFilesAreCutBehindALine(t *testing.T) {
	r := newRecorder(t, 20, 1000)
	f, err := r.open("a/b.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, first := f.Write([]byte("first line\n"))
	_, second := f.Write([]byte("second\nthird\n"))
	_, third := f.Write([]byte("x"))
	if first != nil || !errors.Is(second, errCut) || !errors.Is(third, errCut) {
		t.Errorf("errors %v, %v, %v", first, second, third)
	}
	if err := r.finish(); err == nil || !strings.Contains(err.Error(), "a/b.txt is cut") {
		t.Errorf("finish: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "a/b.txt"))
	if want := "first line\nsecond\n# cut here: the limit of 20 B a file is reached\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v, want %q", text, err, want)
	}
}

// TestAPartThatHangsIsAbandoned has one that writes again later.
func TestAPartThatHangsIsAbandoned(t *testing.T) {
	dir := t.TempDir()
	s := &scope{
		collection: &collection{options: Options{PartTimeout: 20 * time.Millisecond, MaxFileBytes: 100}, dir: dir, budget: &budget{left: 100}},
		dir:        "node", users: &users{count: 1},
	}
	release, late := make(chan struct{}), make(chan error, 2)
	s.runPart(context.Background(), part{name: "slow", run: func(_ context.Context, _ *scope, r *recorder) error {
		f, err := r.create("slow.txt", "slow")
		late <- err
		<-release
		_, err = f.Write([]byte("late\n"))
		late <- err
		return err
	}})
	close(release)
	if first, second := <-late, <-late; first != nil || !errors.Is(second, errAbandoned) {
		t.Errorf("writing: %v and %v", first, second)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "node/slow.txt")); err != nil || string(text) != "# slow\n" {
		t.Errorf("%q, %v", text, err)
	}
	s.runPart(context.Background(), part{name: "panics", run: func(context.Context, *scope, *recorder) error { panic("what?") }})
	problems := s.problems()
	if len(problems) != 2 || !errors.Is(problems[0], errAbandoned) || !strings.Contains(problems[1].Error(), "node: panics: not decodable: what?") {
		t.Errorf("problems %v", problems)
	}
}

// message is an inet_diag_msg of a TCP socket with attributes.
func message(attributes ...[]byte) []byte {
	b := make([]byte, diagMessageLen)
	b[0], b[1] = 2, 1
	binary.BigEndian.PutUint16(b[4:], 5000)
	binary.BigEndian.PutUint16(b[6:], 80)
	copy(b[8:], []byte{192, 0, 2, 1})
	copy(b[24:], []byte{192, 0, 2, 2})
	binary.NativeEndian.PutUint32(b[68:], 77)
	for _, attribute := range attributes {
		b = append(b, attribute...)
	}
	return b
}

func attribute(kind uint16, value []byte) []byte {
	b := make([]byte, 4, 4+len(value))
	binary.NativeEndian.PutUint16(b, uint16(4+len(value)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func TestSocketText(t *testing.T) {
	info := make([]byte, 300) // longer than known: a later kernel's
	binary.NativeEndian.PutUint32(info[68:], 1500)
	for name, test := range map[string]struct {
		message []byte
		want    string
	}{
		"plain":       {message(), "tcp  ESTAB       0      0      192.0.2.1:5000 192.0.2.2:80 users:((\"a\\nb\",pid=1,fd=2)) uid:0 ino:77\n"},
		"mark":        {message(attribute(diagMark, []byte{1, 0, 0, 0})), " fwmark:0x1\n"},
		"memory":      {message(attribute(diagSKMemInfo, make([]byte, 36))), " skmem:(r0,rb0,t0,tb0,f0,w0,o0,bl0,d0)\n"},
		"information": {message(attribute(diagInfo, info), attribute(diagCong, []byte("bbr\x00"))), "\n\tbbr rto:0 rtt:1.5/0 "},
		"short":       {message(attribute(diagInfo, info[:8])), "ino:77\n"},
	} {
		var s socket
		if err := s.decode(test.message); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := s.text("tcp", owners{77: {{comm: "a\nb", pid: 1, fd: 2}}}); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	var s socket
	if err := s.decode(make([]byte, diagMessageLen-1)); err == nil {
		t.Error("a short message is accepted")
	}
}

func FuzzSocket(f *testing.F) {
	f.Add(message(attribute(diagCong, []byte("cubic")), attribute(diagInfo, make([]byte, 248))))
	f.Add([]byte{10})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s socket
		if err := s.decode(b); err == nil && s.text("tcp", nil) == "" {
			t.Error("no text")
		}
	})
}

func FuzzKeyText(f *testing.F) {
	f.Add("ipv4_addr . inet_service", []byte{1, 2, 3, 4, 0, 80, 0, 0})
	f.Add("0", []byte("\x15\x000000000000000000000")) // an attribute that is not padded
	f.Fuzz(func(t *testing.T, typ string, key []byte) {
		if keyText(typ, key) == "" {
			t.Error("no text")
		}
		if _, ok := decodeVerdict(key); ok && len(key) < 8 {
			t.Error("a verdict in less than 8 bytes")
		}
	})
}
