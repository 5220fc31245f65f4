package packetprint

import (
	"bytes"
	"strconv"
	"strings"
)

// maxHTTPHead is how much of a request is searched for its host.
const maxHTTPHead = 8 << 10

// http decodes the first line of a request or a response, and reports whether
// there is one. A line that the segment does not have to its end must begin as one.
func (d *decoder) http(c *Content, p part) bool {
	line, rest, whole := bytes.Cut(p.b[:min(len(p.b), maxHTTPHead)], []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	first, second, _ := bytes.Cut(line, []byte(" "))
	second, third, _ := bytes.Cut(second, []byte(" "))
	h := new(HTTP)
	switch {
	case bytes.HasPrefix(first, []byte("HTTP/1.")) && len(first) == len("HTTP/1.1"):
		status, err := strconv.Atoi(string(second))
		if err != nil || len(second) != 3 {
			return false
		}
		h.Version, h.Status, h.Reason = clean(string(first), maxText), status, clean(string(third), maxText)
	case isMethod(first) && len(second) > 0 && (bytes.HasPrefix(third, []byte("HTTP/1.")) || !whole && isTarget(second)):
		h.Method, h.Target, h.Version = string(first), clean(string(second), maxText), clean(string(third), maxText)
		h.Host = host(rest)
	default:
		return false
	}
	c.HTTP = h
	text := clean(string(line), maxText)
	c.Info += ": HTTP: " + text
	if !whole {
		c.cut("http")
	}
	d.layer("HTTP", "%s", text)
	return true
}

func isMethod(b []byte) bool {
	switch string(b) {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return true
	}
	return false
}

// isTarget reports whether b can be what a request is for (RFC 9112, section 3.2),
// but for the host of CONNECT.
func isTarget(b []byte) bool {
	return b[0] == '/' || bytes.HasPrefix(b, []byte("http://")) || string(b) == "*"
}

// host returns the value of the header of that name.
func host(head []byte) string {
	for line := range bytes.Lines(head) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if len(bytes.TrimSpace(line)) == 0 {
			return ""
		}
		if strings.EqualFold(string(name), "host") {
			return clean(string(bytes.TrimSpace(value)), maxText)
		}
	}
	return ""
}
