// Package dashboards holds the Grafana dashboards for what metrics serve
// serves, and finds the queries in them. Programs do not need it; tests do.
package dashboards

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"
)

//go:embed *.json
var files embed.FS

// Dashboard is the part of a Grafana dashboard that its queries need.
type Dashboard struct {
	File          string     `json:"-"` // "cluster.json"
	Title         string     `json:"title"`
	UID           string     `json:"uid"`
	Description   string     `json:"description"`
	SchemaVersion int        `json:"schemaVersion"`
	Panels        []Panel    `json:"panels"`
	Templating    Templating `json:"templating"`
}

// Templating holds the variables of a dashboard.
type Templating struct {
	List []Variable `json:"list"`
}

// Variable is what a user selects at the top of a dashboard.
type Variable struct {
	Name       string     `json:"name"`
	Type       string     `json:"type"` // "query" or "datasource"
	Definition string     `json:"definition"`
	AllValue   string     `json:"allValue"`
	Datasource Datasource `json:"datasource"`
}

// Datasource says where a panel's numbers come from.
type Datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Panel is one picture, or a row that only has a title.
type Panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Datasource  Datasource `json:"datasource"`
	GridPos     struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []Target `json:"targets"`
}

// Target is one query of a panel.
type Target struct {
	RefID        string     `json:"refId"`
	Expr         string     `json:"expr"` // PromQL with Grafana's variables
	LegendFormat string     `json:"legendFormat"`
	Datasource   Datasource `json:"datasource"`
}

// All returns the dashboards, sorted by file.
func All() ([]Dashboard, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var all []Dashboard
	for _, entry := range entries {
		text, err := files.ReadFile(path.Base(entry.Name()))
		if err != nil {
			return nil, err
		}
		d := Dashboard{File: entry.Name()}
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, fmt.Errorf("read dashboard %s: %w", d.File, err)
		}
		all = append(all, d)
	}
	return all, nil
}

// Query is one query of a dashboard.
type Query struct {
	Where string // "cluster.json: Drops by reason, A"
	Expr  string // PromQL with Grafana's variables
}

// Queries returns the queries of all panels.
func (d *Dashboard) Queries() []Query {
	var all []Query
	for i := range d.Panels {
		for _, target := range d.Panels[i].Targets {
			all = append(all, Query{Where: fmt.Sprintf("%s: %s, %s", d.File, d.Panels[i].Title, target.RefID), Expr: target.Expr})
		}
	}
	return all
}

// PromQL returns the query as Grafana sends it when everything is selected, with
// rates over a window such as "1m".
func (q Query) PromQL(window string) string {
	return variable.ReplaceAllStringFunc(q.Expr, func(name string) string {
		if strings.HasPrefix(name, "$__") {
			return window
		}
		return ".*"
	})
}

// variable is a use of one of Grafana's variables.
var variable = regexp.MustCompile(`\$\w+`)
