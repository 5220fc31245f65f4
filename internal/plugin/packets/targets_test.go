//go:build linux && !unit

package packets_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func target(id uint32, uid string) wire.Target {
	return wire.Target{ID: id, Name: "pod test/" + uid, PodUID: uid}
}

func addTarget(t *testing.T, p *packets.Plugin, id uint32, uid string) packets.Added {
	t.Helper()
	var answers []packets.Added
	vethtest.Must(t, p.Add([]wire.Target{target(id, uid)}, nil, func(added packets.Added) error {
		answers = append(answers, added)
		return nil
	}))
	if len(answers) != 1 {
		t.Fatalf("one target was answered by %+v", answers)
	}
	return answers[0]
}

// following opens a plugin whose targets may come and go, and has it capture.
func following(t *testing.T, pods ...*vethtest.Pod) *packets.Plugin {
	t.Helper()
	spec := specFor("", pods...)
	spec.Follow = true
	p := open(t, spec)
	vethtest.Must(t, p.Go())
	return p
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
				if len(got.Interfaces) != 1 || len(got.Failed) > 0 || got.Interfaces[0].ID != uint32(id) || got.Interfaces[0].Target != uint32(10+id) || got.Interfaces[0].Hook != hook {
					t.Fatalf("target %d: %+v", id, got)
				}
			}
			if again := addTarget(t, p, 20, first.UID); len(again.Interfaces) > 0 || len(again.Failed) > 0 {
				t.Errorf("what is captured already: %+v", again)
			}
			if none := addTarget(t, p, 21, vethtest.NewUID(t)); len(none.Interfaces) > 0 || len(none.Failed) != 1 || none.Failed[0].Target != 21 {
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
// same UID. It is looked for until it is there.
func TestPodWithANewNamespace(t *testing.T) {
	pod := vethtest.NewPod(t)
	p := following(t, pod)
	var answers []packets.Added
	retry := func() {
		t.Helper()
		answers = nil
		vethtest.Must(t, p.Retry(nil, func(added packets.Added) error { answers = append(answers, added); return nil }))
	}
	for id := range uint32(2) { // two are told of it
		if got := addTarget(t, p, 1+id, pod.UID); len(got.Interfaces) > 0 || len(got.Failed) > 0 {
			t.Errorf("the same namespace: %+v", got)
		}
	}
	if retry(); len(answers) != 0 {
		t.Errorf("still the same namespace: %+v", answers)
	}
	p.Remove([]uint32{1})
	pod.NewSandbox(t)
	retry()
	if len(answers) != 1 || len(answers[0].Interfaces) != 1 || answers[0].Interfaces[0].Target != 2 || answers[0].Interfaces[0].ID != 1 {
		t.Errorf("the new namespace: %+v", answers)
	}
	if retry(); len(answers) != 0 {
		t.Errorf("again: %+v", answers)
	}
}

// An interface that vanishes before the command has been told of it is not gone yet.
func TestInterfaceIsNotGoneBeforeItIsAnnounced(t *testing.T) {
	first, second := vethtest.NewPod(t), vethtest.NewPod(t)
	p := following(t, first)
	vethtest.Must(t, p.Add([]wire.Target{target(1, second.UID)}, nil, func(packets.Added) error {
		vethtest.Must(t, second.Netns.Do(func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkDel(link)
		}))
		if gone, all, err := p.Gone(); err != nil || len(gone) > 0 || all {
			t.Errorf("before it is announced: gone %+v, all %t, %v", gone, all, err)
		}
		return nil
	}))
	if gone, _, err := p.Gone(); err != nil || len(gone) != 1 || gone[0].Interface != 1 {
		t.Errorf("after it was announced: gone %+v, %v", gone, err)
	}
}

// The end of a capture waits for the target at hand and no other.
func TestAddingEnds(t *testing.T) {
	known, fresh := vethtest.NewPod(t), vethtest.NewPod(t)
	p := following(t, known)
	done := make(chan struct{})
	answers := 0
	vethtest.Must(t, p.Add([]wire.Target{target(1, fresh.UID), target(2, known.UID)}, done, func(packets.Added) error {
		answers++
		close(done)
		return nil
	}))
	if answers != 1 {
		t.Errorf("%d targets were announced, want the first", answers)
	}
	done = make(chan struct{})
	began := time.Now()
	time.AfterFunc(10*time.Millisecond, func() { close(done) })
	vethtest.Must(t, p.Add([]wire.Target{target(2, known.UID)}, done, func(packets.Added) error { return nil }))
	if took := time.Since(began); took > 400*time.Millisecond {
		t.Errorf("adding ended after %s", took)
	}
}

// A capture that fails is given up while targets may still be added.
func TestNothingIsAttachedAfterDetach(t *testing.T) {
	pod := vethtest.NewPod(t)
	p := following(t)
	vethtest.Must(t, p.Detach())
	if got := addTarget(t, p, 1, pod.UID); len(got.Failed) != 1 || !strings.Contains(got.Failed[0].Cause, "the capture has ended") {
		t.Errorf("added: %+v", got)
	}
	conn := vethtest.UDP(t, pod.Netns, "192.0.2.1:0", "192.0.2.2:4002")
	_, err := conn.Write([]byte("nobody looks"))
	vethtest.Must(t, err)
	if got, stats := finish(t, p); len(got) > 0 || len(stats) > 0 {
		t.Errorf("captured %d packets, %+v", len(got), stats)
	}
}

// What is left out of a target that comes later is told as at the beginning.
func TestWarningsOfTargetsThatCome(t *testing.T) {
	pod := vethtest.NewPod(t)
	vethtest.Must(t, pod.Netns.Do(func() error {
		tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN}
		if err := netlink.LinkAdd(tun); err != nil {
			return err
		}
		return netlink.LinkSetUp(tun)
	}))
	const want = "interface tun0: the filter lets no packet of this kind of interface through: no such filter: it is left out"
	spec := specFor("", pod)
	spec.Follow, spec.Interfaces = true, []string{"eth0", "tun0"}
	spec.Filter = &wire.FilterSpec{Ethernet: []wire.FilterInstruction{{Op: 6, K: 1}}, NoRaw: "no such filter"}
	if w := open(t, spec).Ready().Warnings; len(w) != 1 || !strings.Contains(w[0], want) {
		t.Errorf("warnings at the beginning %q, want %q", w, want)
	}
	spec.Targets = nil
	p := open(t, spec)
	if got := addTarget(t, p, 1, pod.UID); len(got.Interfaces) != 1 || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], want) {
		t.Errorf("later: %+v, want %q", got, want)
	}
}
