package follow

import (
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// A step changes the cluster; then want is told.
type step struct {
	name string
	do   func(*cluster)
	want string
}

func put(objects ...runtime.Object) func(*cluster) {
	return func(c *cluster) {
		for _, object := range objects {
			c.put(object)
		}
	}
}

func remove(objects ...runtime.Object) func(*cluster) {
	return func(c *cluster) {
		for _, object := range objects {
			c.remove(object)
		}
	}
}

func withUID(uid types.UID) func(*corev1.Pod) { return func(p *corev1.Pod) { p.UID = uid } }

func sandbox(status corev1.ConditionStatus, at int64, ips ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.PodIP, p.Status.PodIPs = "", nil
		for _, ip := range ips {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
		}
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodReadyToStartContainers, Status: status, LastTransitionTime: metav1.NewTime(time.Unix(at, 0)),
		}}
	}
}

func TestWatch(t *testing.T) {
	web1 := newPod("shop", "web-1", "10.0.0.1", "app=web")
	db0 := newPod("shop", "db-0", "10.0.0.2", "app=db", "StatefulSet/db")
	tests := []struct {
		name    string
		request target.Request
		objects []runtime.Object
		steps   []step
	}{
		{"labels", target.Request{Namespace: "shop", Selector: "app=web"}, []runtime.Object{newNamespace("shop"), web1}, []step{
			{"nothing new", func(*cluster) {}, ""},
			{"pending", put(with(newPod("shop", "web-2", "", "app=web"), inPhase(corev1.PodPending))), ""},
			{"running", put(newPod("shop", "web-2", "10.0.0.3", "app=web")), "+shop/web-2(u-web-2)"},
			{"ready", put(with(newPod("shop", "web-2", "10.0.0.3", "app=web"), func(p *corev1.Pod) { p.Status.Message = "ready" })), ""},
			{"another namespace", put(newPod("pay", "web-3", "10.0.0.4", "app=web")), ""},
			{"other labels", put(newPod("shop", "till", "10.0.0.5", "app=till")), ""},
			{"windows", put(with(newPod("shop", "win", "", "app=web"), func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} })), ""},
			{"deleting at first sight", put(with(newPod("shop", "web-4", "", "app=web"), deleting)), ""},
			{"deleting", put(with(web1, deleting)), ""},
			{"its containers have ended", put(with(with(web1, deleting), func(p *corev1.Pod) { p.Status.ContainerStatuses = nil })), "-shop/web-1(u-web-1)"},
			{"gone", remove(web1), ""},
			{"relabelled away", put(newPod("shop", "web-2", "10.0.0.3", "app=old")), "-shop/web-2(u-web-2)"},
			{"and back", put(newPod("shop", "web-2", "10.0.0.3", "app=web")), "+shop/web-2(u-web-2)"},
			{"failed", put(with(newPod("shop", "web-2", "10.0.0.3", "app=web"), inPhase(corev1.PodFailed))), "-shop/web-2(u-web-2)"},
		}},
		{"sandbox", target.Request{Namespace: "shop", Selector: "app=web"},
			[]runtime.Object{newNamespace("shop"), with(web1, sandbox(corev1.ConditionTrue, 1, "10.0.0.1"))}, []step{
				{"the same", put(with(web1, sandbox(corev1.ConditionTrue, 1, "10.0.0.1"))), ""},
				{"lost", put(with(web1, sandbox(corev1.ConditionFalse, 2))), ""},
				{"made again", put(with(web1, sandbox(corev1.ConditionTrue, 3, "10.0.0.9"))), "~shop/web-1(u-web-1)"},
				{"made again with its address", put(with(web1, sandbox(corev1.ConditionTrue, 5, "10.0.0.9"))), "~shop/web-1(u-web-1)"},
				{"gone", remove(web1), "-shop/web-1(u-web-1)"},
			}},
		{"sandbox of an old kubelet", target.Request{Namespace: "shop", Selector: "app=web"}, []runtime.Object{newNamespace("shop"), web1}, []step{
			{"no address", put(newPod("shop", "web-1", "", "app=web")), ""},
			{"its address again", put(web1), ""},
			{"another address", put(newPod("shop", "web-1", "10.0.0.9", "app=web")), "~shop/web-1(u-web-1)"},
		}},
		{"pod by name", target.Request{Namespace: "shop", Args: []string{"pod/db-0"}}, []runtime.Object{db0}, []step{
			{"another", put(newPod("shop", "db-1", "")), ""},
			{"deleting", put(with(db0, deleting)), ""},
			{"gone", remove(db0), "-shop/db-0(u-db-0)"},
			{"back, not running", put(with(with(db0, withUID("u-2")), inPhase(corev1.PodPending))), ""},
			{"back", put(with(db0, withUID("u-2"))), "+shop/db-0(u-2)"},
			{"replaced at once", put(with(db0, withUID("u-3"))), "+shop/db-0(u-3) -shop/db-0(u-2)"},
		}},
		{"everything", target.Request{Everything: true, AllNamespaces: true}, nil, []step{
			{"one", put(web1), "+shop/web-1(u-web-1)"},
			{"another namespace", put(newPod("pay", "till", "")), "+pay/till(u-till)"},
		}},
		{"everything in a namespace", target.Request{Everything: true, Namespace: "shop"}, []runtime.Object{newNamespace("shop")}, []step{
			{"one here, one elsewhere", put(web1, newPod("pay", "till", "")), "+shop/web-1(u-web-1)"},
		}},
		{"statefulset", target.Request{Namespace: "shop", Args: []string{"sts/db"}},
			[]runtime.Object{&appsv1.StatefulSet{ObjectMeta: objectMeta("shop", "db"), Spec: appsv1.StatefulSetSpec{Selector: selector("app=db")}}, db0}, []step{
				{"a stranger with its labels", put(newPod("shop", "db-x", "", "app=db")), ""},
				{"scaled", put(newPod("shop", "db-1", "", "app=db", "StatefulSet/db")), "+shop/db-1(u-db-1)"},
				{"deleted and made again", func(c *cluster) {
					c.put(&appsv1.StatefulSet{ObjectMeta: with(newPod("shop", "db", ""), withUID("u-db2")).ObjectMeta, Spec: appsv1.StatefulSetSpec{Selector: selector("app=db")}})
				}, "-shop/db-0(u-db-0) -shop/db-1(u-db-1)"},
			}},
		{"cronjob", target.Request{Namespace: "shop", Args: []string{"cj/tick"}},
			[]runtime.Object{&batchv1.CronJob{ObjectMeta: objectMeta("shop", "tick")}, newJob("tick-0", true, "CronJob/tick")}, []step{
				{"another's job", put(newJob("tock-1", false, "CronJob/tock"), newPod("shop", "tock-1-x", "", "job=tock-1", "Job/tock-1")), ""},
				{"a job", put(newJob("tick-1", false, "CronJob/tick")), ""},
				{"its pod", put(newPod("shop", "tick-1-x", "", "job=tick-1", "Job/tick-1")), "+shop/tick-1-x(u-tick-1-x)"},
				{"it is done, its pod not quite", put(newJob("tick-1", true, "CronJob/tick")), ""},
				{"ended", put(with(newPod("shop", "tick-1-x", "", "job=tick-1", "Job/tick-1"), inPhase(corev1.PodSucceeded))), "-shop/tick-1-x(u-tick-1-x)"},
			}},
		{"service", target.Request{Namespace: "shop", Args: []string{"svc/web"}}, []runtime.Object{newService("web", "app=web"), web1, db0}, []step{
			{"another selector", put(newService("web", "app=db")), "+shop/db-0(u-db-0) -shop/web-1(u-web-1)"},
			{"a wider one", put(with(web1, func(p *corev1.Pod) { p.Labels["all"] = "yes" }),
				with(db0, func(p *corev1.Pod) { p.Labels["all"] = "yes" }), newService("web", "all=yes")), "+shop/web-1(u-web-1)"},
			{"none, but endpoints", put(newEndpoints("web-1", "web", "db-0", "db-9"), newService("web", "")), "-shop/web-1(u-web-1)"},
			{"a new endpoint", put(newEndpoints("web-1", "web", "web-1", "db-0")), "+shop/web-1(u-web-1)"},
			{"another slice", put(newEndpoints("web-2", "web", "web-1"), newEndpoints("web-1", "web", "db-0")), ""},
			{"no service", remove(newService("web", "")), "-shop/db-0(u-db-0) -shop/web-1(u-web-1)"},
		}},
		{"namespaces", target.Request{NamespaceSelectors: "team=a", PodSelectors: "app=web"}, []runtime.Object{newNamespace("shop"), web1}, []step{
			{"labelled", put(newNamespace("shop", "team=a")), "+shop/web-1(u-web-1)"},
			{"a new one", put(newNamespace("pay", "team=a"), newPod("pay", "web-9", "", "app=web"), newPod("pay", "till", "", "app=till")), "+pay/web-9(u-web-9)"},
			{"label taken", put(newNamespace("shop")), "-shop/web-1(u-web-1)"},
		}},
		{"nodes", target.Request{NodeSelectors: "pool=a"}, []runtime.Object{newNode("n1", "linux", "pool=a")}, []step{
			{"heartbeat", put(with(newNode("n1", "linux", "pool=a"), func(n *corev1.Node) { n.Status.Phase = "x" })), ""},
			{"new ones", put(newNode("n2", "linux", "pool=a"), newNode("w1", "windows", "pool=a"), newNode("n3", "linux", "pool=b")), "+node n2"},
			{"relabelled", put(newNode("n1", "linux", "pool=b")), "-node n1"},
			{"gone", remove(newNode("n2", "linux")), "-node n2"},
		}},
		{"named nodes of a pool", target.Request{NodeNames: []string{"n1", "n2"}, NodeSelectors: "pool=a"},
			[]runtime.Object{newNode("n1", "linux", "pool=a"), newNode("n2", "linux")}, []step{
				{"labelled", put(newNode("n2", "linux", "pool=a"), newNode("n3", "linux", "pool=a")), "+node n2"},
			}},
		{"all nodes", target.Request{AllNodes: true}, nil, []step{
			{"first", put(newNode("n1", "linux"), newNode("w1", "windows")), "+node n1"},
			{"replaced", put(with(newNode("n1", "linux"), func(n *corev1.Node) { n.UID = "u-2" })), "+node n1 -node n1"},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, test.objects...)
				told := c.follow(test.request)
				if got := told.text(); got != "" {
					t.Errorf("at first: told %q", got)
				}
				for _, step := range test.steps {
					step.do(c)
					if got := told.text(); got != step.want {
						t.Errorf("%s: told %q, want %q", step.name, got, step.want)
					}
				}
			})
		})
	}
}
