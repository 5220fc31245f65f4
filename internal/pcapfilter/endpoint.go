package pcapfilter

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

const endpointHint = "write IP, PORT, IP:PORT, *:PORT or IP:*, where IP is an address or a network like 10.0.0.0/8, and IPv6 stands in brackets before a port: [fd00::1]:80"

// Endpoint accepts packets from or to an end of connections: IP, PORT, IP:PORT,
// *:PORT or IP:*, where IP is an address or a network. IPv6 is in brackets where a
// port follows. Both parts are of the same end.
func Endpoint(text string) (*Filter, error) {
	where, port, err := splitEndpoint(strings.TrimSpace(text))
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("%q %w", text, err), endpointHint)
	}
	switch {
	case where == "":
		return Parse("port " + port)
	case port == "":
		return Parse(where)
	}
	return Parse(fmt.Sprintf("(src %s and src port %s) or (dst %s and dst port %s)", where, port, where, port))
}

// From accepts packets whose source is an address or in a network.
func From(text string) (*Filter, error) { return directedAddress("src ", text) }

// To accepts packets whose destination is an address or in a network.
func To(text string) (*Filter, error) { return directedAddress("dst ", text) }

func directedAddress(direction, text string) (*Filter, error) {
	where, err := address(strings.TrimSpace(text))
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("%q %w", text, err), "write an address, or a network like 10.0.0.0/8")
	}
	return Parse(direction + where)
}

// splitEndpoint returns what comes after src or dst for the address, and the port;
// either may be empty, but not both.
func splitEndpoint(text string) (where, port string, err error) {
	if _, err := strconv.ParseUint(text, 10, 32); err == nil {
		port, err := portNumber(text)
		return "", port, err
	}
	if where, err := address(strings.Trim(text, "[]")); err == nil && strings.HasPrefix(text, "[") == strings.HasSuffix(text, "]") {
		return where, "", nil
	}
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		_, err = address(text)
		return "", "", err
	}
	ip, portText := text[:at], text[at+1:]
	if strings.Contains(ip, ":") && (!strings.HasPrefix(ip, "[") || !strings.HasSuffix(ip, "]")) {
		return "", "", fmt.Errorf("is not an address, nor an address in brackets and a port")
	}
	if ip != "*" {
		if where, err = address(strings.Trim(ip, "[]")); err != nil {
			return "", "", err
		}
	}
	if portText != "*" {
		if port, err = portNumber(portText); err != nil {
			return "", "", err
		}
	}
	if where == "" && port == "" {
		return "", "", fmt.Errorf("is every packet")
	}
	return where, port, nil
}

func portNumber(text string) (string, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", fmt.Errorf("has the port %q, which is no number from 0 to 65535", text)
	}
	return strconv.FormatUint(n, 10), nil
}

// address is host or net with what text says.
func address(text string) (string, error) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		if masked := prefix.Masked(); masked != prefix {
			return "", fmt.Errorf("has bits set after its network part: the network is %s", masked)
		}
		return "net " + prefix.String(), nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return "", fmt.Errorf("is not an IP address")
	}
	return "host " + addr.Unmap().String(), nil
}
