//go:build linux

package collector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/apiserver"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/dns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/dropreason"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/linuxutil"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetforward"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/tcpretrans"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// eventInterval is how often events are sent.
const eventInterval = 200 * time.Millisecond

// A source is a plugin that measures. Its methods are called by one goroutine.
type source interface {
	// Attach adds interfaces, before Start or later.
	Attach([]scope.Interface) error
	// Detach forgets targets once they have been in one more sample.
	Detach(targets []uint32)
	// Start begins to count.
	Start() error
	// Sample appends what has changed since the last call.
	Sample(*wire.Sample) error
	// Missing is what this node cannot give.
	Missing() []wire.PluginError
	Close() error
}

// openSource opens the plugin of this name.
func openSource(name string, s *scope.Scope) (source, error) {
	switch name {
	case packetforward.Name:
		return packetforward.Open(s)
	case dropreason.Name:
		return dropreason.Open(s)
	case packetparser.Name:
		return packetparser.Open(s)
	case tcpretrans.Name:
		return tcpretrans.Open(s)
	case dns.Name:
		return dns.Open(s)
	case linuxutil.Name:
		return linuxutil.Open(s)
	case apiserver.Name:
		return apiserver.Open(s)
	}
	return nil, fmt.Errorf("this collector has no plugin %q", name)
}

// metrics is the measuring part of one collector.
type metrics struct {
	*run
	spec    *wire.MetricsSpec
	scope   *scope.Scope
	names   []string // of sources
	sources []source
	problem []wire.PluginError
	seq     uint64
	// suppressed is the count of suppressed events that was sent last.
	suppressed uint64
	// unattached are interfaces without a plugin that should be there, failed samples
	// of a plugin that could not be taken; both by the plugin's name.
	unattached, failed map[string]uint64
	inRow              map[string]int // failed samples, without one that was not
}

// maxFailures is how many samples of a plugin may fail one after the other before
// the collector gives up.
const maxFailures = 10

// measure runs plugins until something ends it, and sends the last sample and the
// End frame.
func (r *run) measure(ctx context.Context, spec *wire.MetricsSpec) error {
	m := &metrics{run: r, spec: spec, unattached: map[string]uint64{}, failed: map[string]uint64{}, inRow: map[string]int{}}
	ready, err := m.open()
	if err != nil {
		return errors.Join(err, m.close())
	}
	if err = r.send.json(wire.KindReady, ready); err == nil {
		err = m.execute(ctx)
	}
	if errors.Is(err, errUnheard) {
		return err // others may be stuck in the stream: the end of the process frees all
	}
	return errors.Join(err, m.close())
}

// open loads the plugins and attaches them. A plugin that does not work here is
// one that the others go on without.
func (m *metrics) open() (wire.Ready, error) {
	var err error
	m.scope, err = scope.New(scope.Options{
		TableEntries: m.spec.TableEntries, Hook: m.spec.Hook, EventsPerSecond: m.spec.EventsPerSecond, EventKinds: m.spec.EventKinds, APIServers: m.spec.APIServers,
	})
	if err != nil {
		return wire.Ready{}, err
	}
	for _, name := range m.spec.Plugins {
		s, err := openSource(name, m.scope)
		if err != nil {
			m.complain(name, err, false)
			continue
		}
		m.names, m.sources = append(m.names, name), append(m.sources, s)
	}
	added, failed, err := m.scope.Add(m.spec.Targets)
	if err != nil {
		return wire.Ready{}, err
	}
	for name, errs := range m.attach(added) {
		m.complain(name, errors.Join(errs...), len(errs) < len(added))
	}
	for _, s := range m.sources {
		m.problem = append(m.problem, s.Missing()...)
	}
	return wire.Ready{Interfaces: interfaces(added), Failed: failed, Unsupported: m.problem}, nil
}

// complain notes that a plugin, or a part of it, does not work.
func (m *metrics) complain(name string, err error, partial bool) {
	m.problem = append(m.problem, wire.PluginError{Plugin: name, Cause: err.Error(), Hint: hint.Of(err), Partial: partial})
}

// attach attaches all plugins to new interfaces, and returns what went wrong, by
// plugin, an error for each interface. What an interface would have shown is lost.
func (m *metrics) attach(added []scope.Interface) map[string][]error {
	wrong := map[string][]error{}
	for i, s := range m.sources {
		err := s.Attach(added)
		if err == nil {
			continue
		}
		errs := []error{err}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			errs = joined.Unwrap()
		}
		errs = slices.DeleteFunc(slices.Clone(errs), vanished)
		if len(errs) == 0 {
			continue
		}
		wrong[m.names[i]] = errs
		m.unattached[m.names[i]] += uint64(len(errs))
	}
	return wrong
}

// vanished tells whether an interface could not be attached to because it is gone:
// its pod has ended since it was looked for, and there is nothing to lose.
func vanished(err error) bool { return errors.Is(err, unix.ENODEV) }

func interfaces(added []scope.Interface) []wire.Interface {
	all := make([]wire.Interface, len(added))
	for n, i := range added {
		all[n] = wire.Interface{
			ID: i.ID, Target: i.Target, Name: i.Name, Ifindex: i.Index, LinkType: wire.LinkTypeEthernet,
			MAC: i.MAC.String(), MTU: i.MTU, Uplink: i.Uplink,
		}
		if i.Raw {
			all[n].LinkType = wire.LinkTypeRaw
		}
	}
	return all
}

// execute waits for go, measures, and ends in order.
func (m *metrics) execute(ctx context.Context) error {
	reason, err := m.wait(ctx, m.commands.start, nil)
	if err != nil {
		return err
	}
	if reason != "" {
		return m.send.end(wire.End{Reason: reason})
	}
	if err := m.start(); err != nil {
		return err
	}
	stop, done, failed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		if err := m.work(stop); err != nil {
			failed <- err
		}
	}()
	reason, err = m.wait(ctx, nil, failed)
	close(stop)
	if err != nil {
		return err // the stream may be stuck: wait for nobody
	}
	return m.attended(func() error {
		<-done
		select {
		case err := <-failed:
			return err
		default:
		}
		return m.finish(reason)
	})
}

// start begins to count in all plugins at once.
func (m *metrics) start() error {
	for i, s := range m.sources {
		if err := s.Start(); err != nil {
			return fmt.Errorf("plugin %s: %w", m.names[i], err)
		}
	}
	return m.scope.Run(true)
}

// work sends samples and events, and changes targets, until stop.
func (m *metrics) work(stop <-chan struct{}) error {
	samples := time.NewTicker(m.spec.Interval())
	defer samples.Stop()
	events := time.NewTicker(eventInterval)
	defer events.Stop()
	if m.spec.EventsPerSecond == 0 {
		events.Stop()
	}
	for {
		var err error
		select {
		case <-stop:
			return nil
		case <-samples.C:
			err = m.sample()
		case <-events.C:
			err = m.events()
		case change := <-m.commands.targets:
			err = m.change(change)
		}
		if err != nil {
			return err
		}
	}
}

// finish sends what is left.
func (m *metrics) finish(reason string) error {
	if err := m.scope.Run(false); err != nil {
		return err
	}
	if err := m.sample(); err != nil {
		return err
	}
	if m.spec.EventsPerSecond > 0 {
		if err := m.events(); err != nil {
			return err
		}
	}
	return m.send.end(wire.End{Reason: reason})
}

// change makes one change of the targets and answers.
func (m *metrics) change(change wire.Targets) error {
	if len(change.Remove) > 0 {
		// Once more, for what they have done since the last sample.
		if err := m.sample(); err != nil {
			return err
		}
		for _, s := range m.sources {
			s.Detach(change.Remove)
		}
		if err := m.scope.Remove(change.Remove); err != nil {
			return err
		}
	}
	added, failed, err := m.scope.Add(change.Add)
	if err != nil {
		return err
	}
	m.attach(added)
	return m.send.json(wire.KindAttached, wire.Attached{Interfaces: interfaces(added), Failed: failed})
}

// sample asks all plugins and sends what they say.
func (m *metrics) sample() error {
	m.seq++
	s := wire.Sample{Seq: m.seq, TimeNS: time.Now().UnixNano()}
	for i, source := range m.sources {
		name := m.names[i]
		if err := source.Sample(&s); err != nil {
			m.failed[name]++
			if m.inRow[name]++; m.inRow[name] == maxFailures {
				return fmt.Errorf("plugin %s: %w", name, err)
			}
			continue
		}
		m.inRow[name] = 0
	}
	for what, counts := range map[string]map[string]uint64{"interfaces: not attached": m.unattached, "samples: not taken": m.failed} {
		for name, count := range counts {
			s.Lost = append(s.Lost, wire.LostSample{Plugin: name, What: what, Count: count})
		}
	}
	return sendSample(m.send, s)
}

// events sends what has been reported since the last time, if anything.
func (m *metrics) events() error {
	taken, err := m.scope.TakeEvents()
	if err != nil {
		return err
	}
	if len(taken.Events) == 0 && taken.Suppressed == m.suppressed {
		return nil
	}
	m.suppressed = taken.Suppressed
	for all := taken.Events; ; {
		n := min(len(all), maxEvents)
		if err := m.send.json(wire.KindEvents, wire.Events{Events: all[:n], Suppressed: taken.Suppressed}); err != nil {
			return err
		}
		if all = all[n:]; len(all) == 0 {
			return nil
		}
	}
}

// maxEvents is how many events go into a frame: with the longest names they are a
// few hundred kB.
const maxEvents = 500

// close closes the plugins and then what they share.
func (m *metrics) close() error {
	var errs []error
	for i := len(m.sources) - 1; i >= 0; i-- {
		errs = append(errs, m.sources[i].Close())
	}
	if m.scope != nil {
		errs = append(errs, m.scope.Close())
	}
	return errors.Join(errs...)
}
