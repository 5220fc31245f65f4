//go:build linux && !unit

package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// An auditEvent is what tests want to know of a request to the API server.
type auditEvent struct {
	Verb string
	User struct{ Username string }

	ObjectRef struct{ Resource, Subresource, Namespace, APIGroup string }

	Annotations map[string]string
}

// right is what must be allowed for it: "list replicasets.apps", "create pods/exec",
// with " in NAMESPACE" for one namespace.
func (e *auditEvent) right() string {
	right := e.Verb + " " + e.ObjectRef.Resource
	if e.ObjectRef.APIGroup != "" {
		right += "." + e.ObjectRef.APIGroup
	}
	if e.ObjectRef.Subresource != "" {
		right += "/" + e.ObjectRef.Subresource
	}
	if e.ObjectRef.Namespace != "" {
		right += " in " + e.ObjectRef.Namespace
	}
	return right
}

// An audit is what one service account asks for from some moment on.
type audit struct {
	user string
	from int64 // in the log
}

// startAudit begins now. The cluster may be of before it kept a log.
func startAudit(t testing.TB, namespace, account string) audit {
	t.Helper()
	info, err := os.Stat(the.AuditLog())
	if err != nil {
		t.Fatalf("%v: start the cluster again with make cluster-down cluster", err)
	}
	return audit{user: "system:serviceaccount:" + namespace + ":" + account, from: info.Size()}
}

// rights are those that were used, and those that were refused.
func (a audit) rights(t testing.TB) (used, refused map[string]bool) {
	t.Helper()
	log, err := os.ReadFile(the.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	used, refused = map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(string(log[a.from:])) {
		var e auditEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("audit log: %v: %s", err, line)
		}
		if e.User.Username != a.user || e.ObjectRef.Resource == "" {
			continue
		}
		if e.Annotations["authorization.k8s.io/decision"] == "allow" {
			used[e.right()] = true
		} else {
			refused[e.right()] = true
		}
	}
	return used, refused
}
