//go:build linux && !unit

package packets_test

import (
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// An answer is what an announcer was told.
type answer struct {
	added  []wire.Interface
	failed *wire.TargetError
}

func addTarget(t *testing.T, p *packets.Plugin, id uint32, uid string) answer {
	t.Helper()
	var answers []answer
	vethtest.Must(t, p.Add([]wire.Target{{ID: id, Name: "pod test/" + uid, PodUID: uid}}, func(added []wire.Interface, failed *wire.TargetError) error {
		answers = append(answers, answer{added, failed})
		return nil
	}))
	if len(answers) != 1 {
		t.Fatalf("one target was answered by %+v", answers)
	}
	return answers[0]
}

// Targets come and go while packets are captured, beginning with none.
func TestTargetsComeAndGo(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			vethtest.NeedHook(t, hook)
			first, second := vethtest.NewPod(t), vethtest.NewPod(t)
			spec := specFor(hook)
			spec.Follow = true
			p := open(t, spec)
			vethtest.Must(t, p.Go())
			if _, all, err := p.Gone(); err != nil || !all {
				t.Errorf("no interface at first: %v, %v", all, err)
			}
			for id, pod := range []*vethtest.Pod{first, second} {
				got := addTarget(t, p, uint32(10+id), pod.UID)
				if len(got.added) != 1 || got.failed != nil || got.added[0].ID != uint32(id) || got.added[0].Target != uint32(10+id) || got.added[0].Hook != hook {
					t.Fatalf("target %d: %+v", id, got)
				}
			}
			if again := addTarget(t, p, 20, first.UID); len(again.added) > 0 || again.failed != nil {
				t.Errorf("what is captured already: %+v", again)
			}
			if none := addTarget(t, p, 21, vethtest.NewUID(t)); len(none.added) > 0 || none.failed == nil || none.failed.Target != 21 {
				t.Errorf("a pod that is not there: %+v", none)
			}
			send := func(pod *vethtest.Pod, text string) {
				conn := vethtest.UDP(t, pod.Netns, "192.0.2.1:0", "192.0.2.2:4002")
				_, err := conn.Write([]byte(text))
				vethtest.Must(t, err)
			}
			send(first, "one")
			send(second, "two")
			gone := p.Remove([]uint32{10})
			if len(gone) != 1 || gone[0].Interface != 0 || gone[0].Target != 10 || time.Since(time.Unix(0, gone[0].TimeNS)) > time.Minute {
				t.Errorf("removed: %+v", gone)
			}
			if twice := p.Remove([]uint32{10}); len(twice) != 0 {
				t.Errorf("removed twice: %+v", twice)
			}
			time.Sleep(100 * time.Millisecond) // detaching waits for the kernel's grace period
			send(first, "three, which nobody wants")
			send(second, "four")
			got, stats := finish(t, p)
			texts := map[uint32][]string{}
			for _, g := range got {
				if payload, ok := g.udpPort(4002); ok {
					texts[g.iface] = append(texts[g.iface], string(payload))
				}
			}
			if len(texts[0]) != 1 || texts[0][0] != "one" || len(texts[1]) != 2 || texts[1][1] != "four" {
				t.Errorf("captured %v", texts)
			}
			if len(stats) != 2 || stats[0].Seen != stats[0].Captured || stats[1].Seen != stats[1].Captured {
				t.Errorf("stats %+v", stats)
			}
		})
	}
}

// A pod with a sandbox that was made anew is in another network namespace, under the
// same UID.
func TestPodWithANewNamespace(t *testing.T) {
	pod := vethtest.NewPod(t)
	spec := specFor("", pod)
	spec.Follow = true
	p := open(t, spec)
	vethtest.Must(t, p.Go())
	if got := addTarget(t, p, 1, pod.UID); len(got.added) > 0 || got.failed != nil {
		t.Errorf("the same namespace: %+v", got)
	}
}
