package follow

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestDirectoryRights(t *testing.T) {
	const pod, node, other, svc, far = "10.0.0.5", "192.168.0.1", "10.0.0.6", "10.96.0.1", "192.0.2.1"
	tests := map[string]struct {
		deny    []string // "verb resource namespace"
		options Options
		want    map[string]string // by address
		warn    string
	}{
		"nothing": {
			deny: []string{"list * *"},
			want: map[string]string{pod: "unknown 10.0.0.5 [10.0.0.5]", far: "unknown 192.0.2.1 [192.0.2.1]"},
			warn: "list networkpolicies.networking.k8s.io, list nodes, list pods, list services",
		},
		"no policies": {
			deny: []string{"list networkpolicies *"},
			want: map[string]string{pod: "pod shop/web-1 on n1 of Deployment/web svc all zone z1 [10.0.0.5]", far: "external 192.0.2.1 [192.0.2.1]"},
			warn: "list networkpolicies.networking.k8s.io",
		},
		"no nodes": {
			deny: []string{"list nodes *"},
			want: map[string]string{node: "node node n1 [192.168.0.1]", far: "external 192.0.2.1 [192.0.2.1]"},
			warn: "list nodes",
		},
		"no watch of services": {
			deny: []string{"watch services *"},
			want: map[string]string{svc: "service svc shop/web [10.96.0.1]", far: "external 192.0.2.1 [192.0.2.1]"},
			warn: "watch services",
		},
		"only a namespace": {
			deny:    []string{"list pods ", "list services ", "list networkpolicies ", "list nodes "},
			options: Options{Fallback: []string{"shop"}},
			want: map[string]string{
				pod: "pod shop/web-1 on n1 of Deployment/web svc all policies allow-web,deny [10.0.0.5]",
				svc: "service svc shop/web [10.96.0.1]", node: "node node n1 [192.168.0.1]",
				other: "unknown 10.0.0.6 [10.0.0.6]", far: "unknown 192.0.2.1 [192.0.2.1]",
			},
			warn: "list networkpolicies.networking.k8s.io, list nodes, list pods, list services",
		},
		"two namespaces are wanted": {
			options: Options{Namespaces: []string{"pay", "void"}},
			want: map[string]string{
				pod: "unknown 10.0.0.5 [10.0.0.5]", other: "pod pay/bare on n1 of Pod/bare zone z1 [10.0.0.6]",
				far: "unknown 192.0.2.1 [192.0.2.1]",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				objects := shop()
				for _, object := range objects {
					if p, ok := object.(*corev1.Pod); ok {
						p.Status.HostIP = "192.168.0.1"
					}
				}
				c := newCluster(t, objects...)
				for _, deny := range test.deny {
					words := strings.Split(deny, " ")
					c.forbid(words[0], words[1], words[2])
				}
				d, warnings := directoryOf(t, c, test.options)
				for addr, want := range test.want {
					if got := partyText(d.Party(netip.MustParseAddr(addr))); got != want {
						t.Errorf("%s is %q, want %q", addr, got, want)
					}
				}
				if got := sortedWords(warnings()); got != test.warn {
					t.Errorf("warnings %q, want %q", got, test.warn)
				}
				time.Sleep(3 * refusedEvery)
				if got := sortedWords(warnings()); got != test.warn {
					t.Errorf("later: warnings %q, want %q", got, test.warn)
				}
			})
		})
	}
}

func sortedWords(text string) string {
	words := strings.Split(text, ", ")
	slices.Sort(words)
	return strings.Join(words, ", ")
}
