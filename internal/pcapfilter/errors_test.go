package pcapfilter_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// What is said of every class of error, word by word.
func TestErrors(t *testing.T) {
	tests := []struct{ expr, message, hint string }{
		{"80", "\"80\" is a number, not a condition (column 1)", "compare it, as in len > 100, or say what it is, as in port 80"},
		{"10.1.2.3", "\"10.1.2.3\" has no qualifier before it (column 1)", "say what it is, as in host 10.1.2.3"},
		{"tpc port 80", "unexpected \"tpc\", want a condition (column 1)", "did you mean \"tcp\"?"},
		{"tcp prot 80", "unexpected \"prot\", want \"and\", \"or\" or the end (column 5)", "did you mean \"port\"?"},
		{"tcp port", "ends too early, want a port (column 9)", ""},
		{"port 80 443", "unexpected \"443\", want \"and\", \"or\" or the end (column 9)", "write \"and\" or \"or\" before it"},
		{"(ip", "\"(\" is never closed (column 1)", ""},
		{"ip)", "unexpected \")\", want \"and\", \"or\" or the end (column 3)", ""},
		{"()", "unexpected \")\", want a condition (column 2)", ""},
		{"ip and", "ends too early, want a condition (column 7)", ""},
		{"not", "ends too early, want a condition (column 4)", ""},
		{"len", "\"len\" is a number, not a condition (column 1)", "compare it, as in len > 100, or say what it is, as in port 80"},
		{"5+3 and ip", "\"5+3\" is a number, not a condition (column 1)", "compare it, as in len > 100, or say what it is, as in port 80"},
		{"tcp[0", "\"[\" is never closed (column 4)", ""},
		{"tcp[0:3] = 1", "cannot read 3 bytes at once, only 1, 2 or 4 (column 7)", ""},
		{"ip[0] =", "ends too early, want a number, len or a header access like ip[0] (column 8)", ""},
		{"ip @ tcp", "unknown character \"@\" (column 4)", ""},
		{"ip ; tcp", "unknown character \";\" (column 4)", ""},
		{"host 300.1.1.1", "\"300.1.1.1\" is not an IPv4 address: its numbers go from 0 to 255 (column 6)", ""},
		{"host 10.1.2.0/24", "only a net can have a mask (column 6)", "write net 10.1.2.0/24"},
		{"net 10.1.2.3/16", "\"10.1.2.3/16\" has bits set after its network part (column 5)", "write net 10.1.0.0/16"},
		{"net 10.0.0.0/33", "/33 is longer than an IPv4 address: at most /32 (column 5)", ""},
		{"net 10.0.1.0 mask 255.255.0.0", "\"10.0.1.0 mask 255.255.0.0\" has bits set after its network part (column 5)", "write net 10.0.0.0 mask 255.255.0.0"},
		{"net 2001:db8::1/64", "\"2001:db8::1/64\" has bits set after its network part (column 5)", "write net 2001:db8::/64"},
		{"net ::/129", "/129 is longer than an IPv6 address: at most /128 (column 5)", ""},
		{"ether host 1:2:3:4:5:", "\"1:2:3:4:5:\" is not an Ethernet address (column 12)", "six bytes in hexadecimal, as in 02:42:ac:11:00:02"},
		{"ether host 10", "10 is not an Ethernet address (column 12)", "six bytes in hexadecimal, as in 02:42:ac:11:00:02"},
		{"host 02:42:ac:11:00:02", "an Ethernet address can only come after ether host, ether src or ether dst (column 6)", "write ether host 02:42:ac:11:00:02"},
		{"port 65536", "port 65536 is greater than 65535 (column 6)", ""},
		{"port htpps", "unknown port \"htpps\" (column 6)", "did you mean \"https\"?"},
		{"port 10.1.2.3", "\"port\" cannot qualify an IPv4 address (column 6)", ""},
		{"udp port http", "port \"http\" is of tcp, not udp (column 10)", "write port 80 if it is meant with udp"},
		{"portrange http", "\"http\" is not a range of ports (column 11)", "write two ports, as in portrange 6000-6008"},
		{"portrange 1-70000", "port 70000 is greater than 65535 (column 11)", ""},
		{"icmp port 5", "\"icmp\" cannot qualify a port (column 11)", "only tcp, udp and sctp have ports"},
		{"tcp host 10.1.2.3", "\"tcp\" cannot qualify an IPv4 address (column 10)", "write tcp and host 10.1.2.3"},
		{"ip host ::1", "\"ip\" cannot qualify an IPv6 address (column 9)", ""},
		{"tcp src 80", "\"tcp\" cannot qualify an IPv4 address (column 9)", "write tcp src port 80"},
		{"ether", "\"ether\" alone is no condition (column 1)", "say more, as in ether host, ether proto or ether[0]"},
		{"radio", "\"radio\" is for 802.11 links only (column 1)", "filters are for Ethernet and for IP without a link layer"},
		{"ah[0] = 1", "the header of \"ah\" cannot be accessed (column 1)", ""},
		{"tcp proto 6", "\"tcp\" cannot stand before proto (column 11)", ""},
		{"ip proto tcp", "unexpected \"tcp\", want a protocol (column 10)", "write \\tcp if it is a name"},
		{"ip proto \\tpc", "unknown protocol \"tpc\" (column 10)", "did you mean \"tcp\"?"},
		{"arp multicast", "there is no multicast of \"arp\" (column 1)", "only ether, ip and ip6 can stand before it"},
		{"vlan 4096", "vlan 4096 is greater than 4095 (column 1)", ""},
		{"mpls and vlan", "\"vlan\" cannot be matched after mpls (column 10)", "write vlan before mpls"},
		{"mpls and arp", "\"arp\" cannot be matched after mpls (column 10)", "only ip and ip6 can be recognized after mpls"},
		{"pppoes and broadcast", "there are no Ethernet addresses without an Ethernet header (column 12)", ""},
		{"llc foo", "unknown llc type \"foo\" (column 1)", ""},
		{"less ip", "unexpected \"ip\", want a number (column 6)", ""},
		{"byte 5 ! 5", "unexpected \"!\", want one of & | < > = (column 8)", ""},
		{"ip[0] / 0 = 1", "division by zero (column 9)", ""},
		{"ip[0] << 32 = 1", "shift by 32 bits, of 32 (column 10)", ""},
		{"08 = 8", "number 08 has a digit that is not octal (column 1)", "a number that begins with 0 is octal; leave the 0 away for a decimal one"},
		{"4294967296 = 0", "number 4294967296 does not fit into 32 bits (column 1)", ""},
		{"src or 10.1", "unexpected \"10.1\", want src or dst: after \"src or\" comes the other direction (column 8)", ""},
		{"host tcp", "unexpected \"tcp\", want an address or a name (column 6)", "write \\tcp if it is a name"},
		{"gateway foo", "\"gateway\" needs names of Ethernet hosts, which are not known here (column 9)", "write ether host MAC and not host ADDRESS"},
		{"protochain 6", "\"protochain\" needs a loop, which a program in the kernel must not have (column 1)", "use proto, which tests the first header only"},
		{"inbound", "\"inbound\" is not in the bytes of a packet (column 1)", "choose interfaces and directions with the command's own flags"},
		{"type mgt", "\"type\" is for 802.11 links only (column 1)", "filters are for Ethernet and for IP without a link layer"},
		{"ifname eth0", "\"ifname\" is for links that nodes do not have (column 1)", "filters are for Ethernet and for IP without a link layer"},
		{"vpi 5", "\"vpi\" is for links that nodes do not have (column 1)", "filters are for Ethernet and for IP without a link layer"},
		{"pod", "\"pod\" has no name after it (column 1)", "write its name after it"},
		{"pod and tcp", "\"pod\" has no name after it (column 1)", "write its name after it"},
		{"pod Web", "\"Web\" cannot be the name of a pod (column 5)", "names have lower case letters, digits, - and ."},
		{"pod tcp", "unexpected \"tcp\", want the name of a pod (column 5)", "write \\tcp if it is a name"},
		{"tcp pod web", "unexpected \"pod\", want \"and\", \"or\" or the end (column 5)", "write \"and\" or \"or\" before it"},
		{"ns a/b", "a namespace has no namespace (column 4)", ""},
		{"node a/b", "a node has no namespace (column 6)", ""},
		{"host $5", "\"$5\" is an ARCnet address (column 6)", "filters are for Ethernet and for IP without a link layer"},
		{"port (80 or tcp", "unexpected \"tcp\", want a port (column 13)", "write \\tcp if it is a name"},
		{"net 10 mask 255.0.0.0", "unexpected \"mask\", want \"and\", \"or\" or the end (column 8)", "write the network with dots: 10.0.0.0"},
		{"net foo", "unknown network \"foo\" (column 5)", "write its address, as in net 10.0.0.0/8"},
		{"decnet host foo", "unknown DECnet host \"foo\" (column 13)", "write the address, as in decnet host 1.2"},
		{"ether host foo", "unknown Ethernet host \"foo\" (column 12)", "write the Ethernet address"},
		{"host \"a\"", "unknown character \"\\\"\" (column 6)", ""},
		{"é", "unknown character \"é\" (column 1)", ""},
		{"tcp port 80 and host ü", "unknown character \"ü\" (column 22)", ""},
		{"port ((80 or 443) or 22)", "unexpected \"or\", want a list without brackets around its first part (column 19)", ""},
		{"src and src host 10.1", "unexpected \"src\", want src or dst: after \"src and\" comes the other direction (column 9)", ""},
		{"vxlan", "unexpected \"vxlan\", want a condition (column 1)", "did you mean \"vlan\"?"},
		{"ip[len", "\"[\" is never closed (column 3)", ""},
		{"1:2:3:4:5: and tcp", "\"1:2:3:4:5:\" is not an Ethernet address (column 1)", "six bytes in hexadecimal, as in 02:42:ac:11:00:02"},
		{"tcp.port == 80", "unexpected \"tcp.port\", want a condition (column 1)", "write tcp port PORT: tcp.port is of Wireshark's display filters"},
		{"udp and ip.src == 10.0.0.1", "unexpected \"ip.src\", want a condition (column 9)", "write src host ADDRESS: ip.src is of Wireshark's display filters"},
		{"tcp and (ip.addr eq 10.0.0.1)", "unexpected \"ip.addr\", want a condition (column 10)", "write host ADDRESS: ip.addr is of Wireshark's display filters"},
		{"dns or icmp", "unexpected \"dns\", want a condition (column 1)", "write port 53, or the port that it has: a filter does not look into it"},
		{"service web", "unexpected \"service\", want a condition (column 1)", "write svc web"},
		{"tcp and namespace/shop", "unexpected \"namespace\", want a condition (column 9)", "write ns shop"},
		{"tcp or service", "unexpected \"service\", want a condition (column 8)", "write svc NAME"},
		{"deploy web", "unexpected \"deploy\", want a condition (column 1)", "a filter can name pod, ns, svc and node"},
		{"pod/web", "\"pod\" has no name after it (column 1)", "write pod web"},
		{"tcp and svc/shop/web", "\"svc\" has no name after it (column 9)", "write svc shop/web"},
		{"pod web-0 and ns", "\"ns\" has no name after it (column 15)", "write its name after it"},
		{"10.0.0.1:80", "\"10.0.0.1\" has no qualifier before it (column 1)", "say what it is, as in host 10.0.0.1 and port 80"},
		{"host 10.0.0.1:http", "unexpected \":\", want \"and\", \"or\" or the end (column 14)", "write \"and port http\" for it"},
		{"port 80,443", "unknown character \",\" (column 8)", "write \"or\" between the parts of a list"},
		{"port 80-90", "unknown port \"80-90\" (column 6)", "write portrange 80-90"},
		{"host [::1]", "unexpected \"[\", want an address or a name (column 6)", "write IPv6 addresses without brackets"},
		{"tcp | udp", "unexpected \"|\", want \"and\", \"or\" or the end (column 5)", "write \"or\": | is for numbers"},
		{"tcp & port 80", "unexpected \"&\", want \"and\", \"or\" or the end (column 5)", "write \"and\": & is for numbers"},
		{"src dst port 80", "unexpected \"dst\", want an address or a name (column 5)", "write \"src or dst\", or \"src and dst\""},
		{"tcp[tcpflags] & tcp-rts != 0", "unexpected \"tcp-rts\", want a number, len or a header access like ip[0] (column 17)", "did you mean \"tcp-rst\"?"},
		{"-i eth0 tcp", "\"-i\" is an option of tcpdump, and no part of a filter (column 1)", "interfaces, counts and sizes have flags of their own"},
		{"-nn", "\"-nn\" is an option of tcpdump, and no part of a filter (column 1)", "interfaces, counts and sizes have flags of their own"},
		{"host 1::2::3", "\"1::2::\" is not an Ethernet address (column 6)", "six bytes in hexadecimal, as in 02:42:ac:11:00:02"},
	}
	for _, test := range tests {
		_, err := pcapfilter.Parse(test.expr)
		if err == nil {
			t.Errorf("%q is a filter", test.expr)
			continue
		}
		if got := strings.TrimPrefix(err.Error(), "filter: "); got != test.message {
			t.Errorf("%q: error\n%s\nwant\n%s", test.expr, got, test.message)
		}
		if got := hint.Of(err); got != test.hint {
			t.Errorf("%q: hint %q, want %q", test.expr, got, test.hint)
		}
	}
}

// Errors that come only with a link type or names.
func TestCompileErrors(t *testing.T) {
	tests := []struct {
		expr    string
		link    pcapfilter.LinkType
		message string
	}{
		{"ip and ip6", pcapfilter.Ethernet, "no packet can pass this filter on Ethernet (column 1)"},
		{"arp", pcapfilter.Raw, "no packet can pass this filter on raw IP (column 1)"},
		{"tcp and vlan 5", pcapfilter.Raw, `"vlan" needs an Ethernet header (column 9)`},
		{"mpls", pcapfilter.Raw, `"mpls" needs a link layer (column 1)`},
		{"llc", pcapfilter.Raw, `"llc" needs an Ethernet header (column 1)`},
		{"ether src 1:2:3:4:5:6", pcapfilter.Raw, "there are no Ethernet addresses without an Ethernet header (column 11)"},
		{"multicast", pcapfilter.Raw, "there are no link-layer multicasts without an Ethernet header (column 1)"},
		{"ip broadcast", pcapfilter.Ethernet, `"ip broadcast" needs the netmask of the network, which is not known here (column 1)`},
		{"tcp and host web", pcapfilter.Ethernet, `"web" is a name, and names are not looked up here (column 14)`},
		{"pod web", pcapfilter.Ethernet, "pods are not known here (column 5)"},
	}
	for _, test := range tests {
		_, err := mustParse(t, test.expr).Compile(test.link, pcapfilter.Options{})
		if err == nil {
			t.Errorf("%q compiles for %s", test.expr, test.link)
			continue
		}
		if got := strings.TrimPrefix(err.Error(), "filter: "); got != test.message {
			t.Errorf("%q for %s: error\n%s\nwant\n%s", test.expr, test.link, got, test.message)
		}
	}
}

func TestCaret(t *testing.T) {
	tests := map[string]string{
		"tcp port htpps and ip": "tcp port htpps and ip\n         ^^^^^",
		"tcp\tand\nport":        "tcp and port\n            ^",
		"host ü":                "host ü\n     ^",
		"ip and (tcp":           "ip and (tcp\n       ^",
	}
	for expr, want := range tests {
		_, err := pcapfilter.Parse(expr)
		var e *pcapfilter.Error
		if !errors.As(err, &e) {
			t.Fatalf("%q: error %v", expr, err)
		}
		if got := e.Caret(); got != want {
			t.Errorf("%q:\n%s\nwant\n%s", expr, got, want)
		}
	}
}
