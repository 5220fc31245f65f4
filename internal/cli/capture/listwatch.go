package capture

import (
	"context"
	"encoding/json"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
)

// deleted is the status of a capture that is gone, as a watch tells it.
const deleted inventory.State = "Deleted"

// follow prints first, and then captures that change, until the user has seen
// enough. What cannot be had for a while is no change.
func (o *listOptions) follow(ctx context.Context, options inventory.Options, first *inventory.CaptureList) error {
	t := o.newTable()
	shown := map[string]inventory.Capture{} // by run, as they were printed
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for list := first; ; {
		changed := o.changes(t, shown, list)
		if err := o.printChanged(t, changed); err != nil {
			return err
		}
		for list = nil; list == nil; {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			// What an API server refuses for a moment is asked for again.
			list, _ = inventory.List(ctx, o.cluster.Client, options)
		}
	}
}

// changes returns the captures that look different from when they were printed,
// and those that are gone.
func (o *listOptions) changes(t *captureTable, shown map[string]inventory.Capture, list *inventory.CaptureList) []inventory.Capture {
	var changed []inventory.Capture
	here := map[string]bool{}
	for i := range list.Items {
		c := list.Items[i]
		key := c.Namespace + "/" + c.Run
		here[key] = true
		if before, known := shown[key]; !known || o.differ(t, &before, &c) {
			shown[key] = c
			changed = append(changed, c)
		}
	}
	for key, c := range shown {
		if !here[key] {
			delete(shown, key)
			c.Status, c.Reason = deleted, ""
			changed = append(changed, c)
		}
	}
	return changed
}

func (o *listOptions) differ(t *captureTable, a, b *inventory.Capture) bool {
	switch o.output {
	case "json", "yaml":
		was, _ := json.Marshal(a) // plain data
		is, _ := json.Marshal(b)
		return string(was) != string(is)
	case "name":
		return false
	}
	return t.lasting(a) != t.lasting(b)
}

func (o *listOptions) printChanged(t *captureTable, changed []inventory.Capture) error {
	if len(changed) == 0 {
		return nil
	}
	switch o.output {
	case "json", "yaml":
		for i := range changed {
			if err := o.encode(&changed[i]); err != nil {
				return err
			}
		}
		return nil
	case "name":
		return o.printNames(changed)
	}
	return t.print(t.rows(changed))
}
