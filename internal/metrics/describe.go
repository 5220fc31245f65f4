package metrics

import "strconv"

// Describe names a party with its kind: "pod shop/web-1".
func (p Party) Describe() string {
	if p.Kind == KindPod && p.Name != "" {
		return "pod " + p.String()
	}
	return p.String()
}

// Describe names a row of a report for people: "pod shop/web-1", "namespace shop",
// "pod shop/web-1 -> svc shop/db TCP 5432".
func (r *Row) Describe(by By) string {
	if r.Kind == KindNode && by != ByFlow {
		return r.Party.Describe()
	}
	switch by {
	case ByWorkload:
		return r.Namespace + "/" + orNone(r.Workload)
	case ByNamespace:
		return "namespace " + r.Namespace
	case ByService:
		return "service " + r.Namespace + "/" + orNone(r.Service)
	case ByFlow:
		return r.Party.Describe() + r.towards()
	}
	return r.Party.Describe()
}

func orNone(name string) string {
	if name == "" {
		return "(none)"
	}
	return name
}

func (r *Row) towards() string {
	arrow := " -> "
	if r.Role == "server" {
		arrow = " <- "
	}
	text := arrow + remoteText(r)
	if r.Protocol != "" {
		text += " " + r.Protocol
	}
	if r.Port != 0 {
		text += " " + strconv.Itoa(int(r.Port))
	}
	return text
}
