//go:build linux

package nodeinfo

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"syscall"

	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// plain makes of structs what encoding/json writes readably: bytes in
// hexadecimal, fields under names as in C, and none that is empty or false.
func plain(v any) any { return plainValue(reflect.ValueOf(v), 0) }

func plainValue(v reflect.Value, depth int) any {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch value := v.Interface().(type) {
	case net.IP:
		return value.String()
	case expr.Verdict:
		return verdictText(value)
	}
	switch v.Kind() {
	case reflect.Struct:
		fields := map[string]any{}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if field.IsExported() && !empty(v.Field(i)) && depth <= deepest {
				fields[snake(field.Name)] = plainValue(v.Field(i), depth+1)
			}
		}
		return fields
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return "0x" + hex.EncodeToString(v.Bytes())
		}
		values := []any{}
		for i := range v.Len() {
			values = append(values, plainValue(v.Index(i), depth+1))
		}
		return values
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128, reflect.Map:
		return fmt.Sprint(v.Interface())
	}
	return v.Interface()
}

// empty is not 0, which means something in most fields.
func empty(v reflect.Value) bool {
	return v.IsZero() && !v.CanInt() && !v.CanUint()
}

// keyText writes a key of a set in the way of its type: "10.0.0.1 . tcp . 80" of
// "ipv4_addr . inet_proto . inet_service", or in hexadecimal.
func keyText(typ string, key []byte) string {
	var words []string
	types := strings.Split(typ, " . ")
	for i, name := range types {
		size, ok := keySizes()[name]
		if !ok || len(key) < size {
			return strings.Join(append(words, "0x"+hex.EncodeToString(key)), " . ")
		}
		words = append(words, keyWord(name, key[:size]))
		// In a concatenation each part is padded to 4 bytes.
		key = key[min((size+3)/4*4, len(key)):]
		if i == len(types)-1 && len(strings.Trim(string(key), "\x00")) > 0 {
			words = append(words, "0x"+hex.EncodeToString(key))
		}
	}
	return strings.Join(words, " . ")
}

// keySizes are those of the types that are written as text.
func keySizes() map[string]int {
	return map[string]int{"ipv4_addr": 4, "ipv6_addr": 16, "inet_service": 2, "inet_proto": 1, "ether_addr": 6, "mark": 4, "ifname": 16}
}

func keyWord(typ string, b []byte) string {
	switch typ {
	case "ipv4_addr", "ipv6_addr":
		if ip, ok := netip.AddrFromSlice(b); ok {
			return ip.String()
		}
	case "inet_service":
		return fmt.Sprint(binary.BigEndian.Uint16(b))
	case "inet_proto":
		if name, ok := map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}[b[0]]; ok {
			return name
		}
		return fmt.Sprint(b[0])
	case "ether_addr":
		return net.HardwareAddr(b).String()
	case "mark":
		return fmt.Sprintf("0x%x", binary.NativeEndian.Uint32(b))
	case "ifname":
		name, _, _ := strings.Cut(string(b), "\x00")
		return name
	}
	return "0x" + hex.EncodeToString(b)
}

// verdictText is "drop" or "jump KUBE-SERVICES".
func verdictText(v expr.Verdict) string {
	names := map[expr.VerdictKind]string{
		expr.VerdictReturn: "return", expr.VerdictGoto: "goto", expr.VerdictJump: "jump", expr.VerdictBreak: "break",
		expr.VerdictContinue: "continue", expr.VerdictDrop: "drop", expr.VerdictAccept: "accept", expr.VerdictStolen: "stolen",
		expr.VerdictQueue: "queue", expr.VerdictRepeat: "repeat", expr.VerdictStop: "stop",
	}
	name, ok := names[v.Kind]
	if !ok {
		name = fmt.Sprint(int64(v.Kind))
	}
	return strings.TrimSpace(name + " " + v.Chain)
}

// decodeVerdict reads the NFTA_VERDICT_ attributes of an element of a map.
func decodeVerdict(b []byte) (expr.Verdict, bool) {
	var v expr.Verdict
	attributes, err := parseAttributes(b)
	if err != nil {
		return v, false
	}
	known := false
	for _, a := range attributes {
		switch {
		case a.Attr.Type == unix.NFTA_VERDICT_CODE && len(a.Value) == 4:
			v.Kind, known = expr.VerdictKind(int32(binary.BigEndian.Uint32(a.Value))), true
		case a.Attr.Type == unix.NFTA_VERDICT_CHAIN:
			v.Chain = unix.ByteSliceToString(a.Value)
		}
	}
	return v, known
}

// parseAttributes reads netlink attributes, which the kernel pads to 4 bytes: the
// library panics at the end of others.
func parseAttributes(b []byte) ([]syscall.NetlinkRouteAttr, error) {
	if len(b)%4 != 0 {
		return nil, fmt.Errorf("netlink attributes in %d bytes are not padded", len(b))
	}
	return nl.ParseRouteAttr(b)
}
