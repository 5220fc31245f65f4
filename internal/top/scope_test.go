package top

import (
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// The drops of a flow are those of both its ends: a client sees what the server's
// network namespace has dropped, by its service too.
func TestScopeOfAFlowHasDropsOfBothEnds(t *testing.T) {
	client, other := pod("shop", "client", "n1", "10.0.0.1"), pod("shop", "other", "n1", "10.0.0.3")
	server, second := pod("shop", "server-1", "n2", "10.0.1.1"), pod("shop", "server-2", "n2", "10.0.1.2")
	server.Service, second.Service = "web", "web"
	web := metrics.Party{Kind: metrics.KindService, Namespace: "shop", Name: "web"}
	elsewhere := metrics.Party{Kind: metrics.KindService, Namespace: "test", Name: "web"}
	drop := func(target, from, to metrics.Party) *metrics.Drop {
		return &metrics.Drop{Target: target, Source: &metrics.Side{Party: from}, Destination: &metrics.Side{Party: to}}
	}
	for name, test := range map[string]struct {
		local, remote metrics.Party
		drop          *metrics.Drop
		want          bool
	}{
		"own":                              {client, server, drop(client, client, server), true},
		"own answer":                       {client, server, drop(client, server, client), true},
		"own, with another":                {client, server, drop(client, client, other), false},
		"own, not known with whom":         {client, server, &metrics.Drop{Target: client}, true},
		"of the server":                    {client, server, drop(server, client, server), true},
		"of the server, its answer":        {client, server, drop(server, server, client), true},
		"of the server, from another":      {client, server, drop(server, other, server), false},
		"of the server, not known whose":   {client, server, &metrics.Drop{Target: server}, false},
		"of another server":                {client, server, drop(second, client, second), false},
		"behind the service":               {client, web, drop(server, client, server), true},
		"behind the service, from another": {client, web, drop(server, other, server), false},
		"behind another service":           {client, elsewhere, drop(server, client, server), false},
		"to the service":                   {client, web, drop(client, client, web), true},
		"own, to a pod behind the service": {client, web, drop(client, client, second), true},
		"seen from the server":             {server, client, drop(client, client, server), true},
		"seen from the server, by service": {server, client, drop(client, client, web), true},
		"seen from the server, of another": {server, client, drop(client, client, second), false},
		"seen from the server, its own":    {server, client, drop(server, client, server), true},
		"between others":                   {client, server, drop(other, other, second), false},
	} {
		if got := between(name, &test.local, &test.remote).hasDrop(test.drop); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
