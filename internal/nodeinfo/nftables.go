//go:build linux

package nodeinfo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// nftWriter writes the ruleset as JSON in the manner of nft -j, an object a
// line: what the node's own nft prints is better, but not every node has it.
// Expressions that the library does not know are missing from their rules.
type nftWriter struct {
	conn *nftables.Conn
	file *file
	ctx  context.Context
}

func writeNFTables(ctx context.Context, _ *scope, r *recorder) error {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("netfilter netlink: %w", err)
	}
	defer func() { _ = conn.CloseLasting() }()
	// Ends what waits for the kernel.
	defer context.AfterFunc(ctx, func() { _ = conn.CloseLasting() })()
	tables, err := conn.ListTables()
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil // no nf_tables in this kernel
	}
	if err != nil {
		return fmt.Errorf("list nftables tables: %w", err)
	}
	f, err := r.create("nftables.json", "")
	if err != nil {
		return err
	}
	// Valid JSON, whatever happens.
	f.endWith(`,{"incomplete":true}` + "\n]}\n")
	if _, err := f.Write([]byte(`{"nftables":[` + "\n" + `{"metainfo":{"json_schema_version":1}}` + "\n")); err != nil {
		return err
	}
	w := &nftWriter{conn: conn, file: f, ctx: ctx}
	if err := w.write(tables); err != nil {
		return err
	}
	f.endWith("]}\n")
	return nil
}

// object writes {"kind": value}.
func (w *nftWriter) object(kind string, value any) error {
	text, err := json.Marshal(map[string]any{kind: value})
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return w.file.writeWhole([]byte("," + string(text) + "\n"))
}

func (w *nftWriter) write(tables []*nftables.Table) error {
	chains, err := w.conn.ListChains()
	if err != nil {
		return fmt.Errorf("list nftables chains: %w", err)
	}
	for _, table := range tables {
		if err := w.object("table", nftTable{familyName(table.Family), table.Name, table.Flags}); err != nil {
			return err
		}
	}
	for _, chain := range chains {
		if err := w.object("chain", newNFTChain(chain)); err != nil {
			return err
		}
	}
	for _, chain := range chains {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		rules, err := w.conn.GetRules(chain.Table, chain)
		if errors.Is(err, unix.ENOENT) {
			continue // deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("list the rules of nftables chain %s: %w", chain.Name, err)
		}
		for _, rule := range rules {
			if err := w.object("rule", newNFTRule(rule, chain)); err != nil {
				return err
			}
		}
	}
	// Last, because some kinds of sets cannot be decoded.
	var errs []error
	for _, table := range tables {
		errs = append(errs, w.sets(table))
	}
	return errors.Join(errs...)
}

// maxElements is how many elements of one set are written.
const maxElements = 10_000

func (w *nftWriter) sets(table *nftables.Table) error {
	sets, err := w.conn.GetSets(table)
	if err != nil {
		return fmt.Errorf("list the sets of nftables table %s: %w", table.Name, err)
	}
	for _, set := range sets {
		elements, err := w.conn.GetSetElements(set)
		if err != nil && w.ctx.Err() == nil {
			elements = nil // deleted meanwhile, or not decodable
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if err := w.object("set", newNFTSet(table, set, elements)); err != nil {
			return err
		}
	}
	return nil
}

type nftTable struct {
	Family string `json:"family"`
	Name   string `json:"name"`
	Flags  uint32 `json:"flags,omitempty"`
}

type nftChain struct {
	Family   string `json:"family"`
	Table    string `json:"table"`
	Name     string `json:"name"`
	Type     string `json:"type,omitempty"`
	Hook     string `json:"hook,omitempty"`
	Priority *int32 `json:"prio,omitempty"`
	Policy   string `json:"policy,omitempty"`
	Device   string `json:"dev,omitempty"`
}

func newNFTChain(c *nftables.Chain) nftChain {
	chain := nftChain{Family: familyName(c.Table.Family), Table: c.Table.Name, Name: c.Name, Type: string(c.Type), Device: c.Device}
	if c.Hooknum != nil {
		chain.Hook = hookName(c.Table.Family, uint32(*c.Hooknum))
	}
	if c.Priority != nil {
		priority := int32(*c.Priority)
		chain.Priority = &priority
	}
	if c.Policy != nil {
		chain.Policy = map[nftables.ChainPolicy]string{nftables.ChainPolicyAccept: "accept", nftables.ChainPolicyDrop: "drop"}[*c.Policy]
	}
	return chain
}

type nftRule struct {
	Family      string           `json:"family"`
	Table       string           `json:"table"`
	Chain       string           `json:"chain"`
	Handle      uint64           `json:"handle"`
	Comment     string           `json:"comment,omitempty"`
	Expressions []map[string]any `json:"expr"`
}

func newNFTRule(r *nftables.Rule, chain *nftables.Chain) nftRule {
	rule := nftRule{Family: familyName(chain.Table.Family), Table: chain.Table.Name, Chain: chain.Name, Handle: r.Handle, Expressions: []map[string]any{}}
	if comment, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok {
		rule.Comment = comment
	}
	for _, expression := range r.Exprs {
		rule.Expressions = append(rule.Expressions, map[string]any{typeName(expression): plain(expression)})
	}
	return rule
}

type nftSet struct {
	Family   string       `json:"family"`
	Table    string       `json:"table"`
	Name     string       `json:"name"`
	KeyType  string       `json:"type,omitempty"`
	DataType string       `json:"map,omitempty"`
	Interval bool         `json:"interval,omitempty"`
	Elements []nftElement `json:"elem"`
	Left     int          `json:"left_out,omitempty"` // elements
}

type nftElement struct {
	Key     string `json:"key"`
	End     string `json:"key_end,omitempty"`
	Value   string `json:"value,omitempty"`
	Last    bool   `json:"interval_end,omitempty"`
	Expires string `json:"expires,omitempty"`
	Comment string `json:"comment,omitempty"`
}

func newNFTSet(table *nftables.Table, s *nftables.Set, elements []nftables.SetElement) nftSet {
	set := nftSet{
		Family: familyName(table.Family), Table: table.Name, Name: s.Name,
		KeyType: s.KeyType.Name, Interval: s.Interval, Elements: []nftElement{},
	}
	// The library has no type for the keys of a map of verdicts.
	verdicts := s.KeyType.Name == nftables.TypeVerdict.Name
	if verdicts {
		set.KeyType, set.DataType = "", nftables.TypeVerdict.Name
	} else if s.IsMap {
		set.DataType = s.DataType.Name
	}
	for i, e := range elements {
		if i == maxElements {
			set.Left = len(elements) - i
			break
		}
		element := nftElement{Key: keyText(set.KeyType, e.Key), Last: e.IntervalEnd, Comment: e.Comment}
		if len(e.KeyEnd) > 0 {
			element.End = keyText(set.KeyType, e.KeyEnd)
		}
		if len(e.Val) > 0 {
			element.Value = keyText(set.DataType, e.Val)
		}
		if verdict, ok := decodeVerdict(e.Val); verdicts && ok {
			element.Value = verdictText(verdict)
		}
		if e.Expires > 0 {
			element.Expires = e.Expires.Round(time.Second).String()
		}
		set.Elements = append(set.Elements, element)
	}
	return set
}

// familyName is nft's word for a NFPROTO_ value (linux/netfilter.h).
func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyARP:
		return "arp"
	case nftables.TableFamilyNetdev:
		return "netdev"
	case nftables.TableFamilyBridge:
		return "bridge"
	}
	return fmt.Sprint(byte(f))
}

func hookName(family nftables.TableFamily, hook uint32) string {
	names := []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	switch family {
	case nftables.TableFamilyNetdev:
		names = []string{"ingress", "egress"}
	case nftables.TableFamilyARP:
		names = []string{"input", "output", "forward"}
	}
	if int(hook) < len(names) {
		return names[hook]
	}
	return fmt.Sprint(hook)
}

// typeName is "cmp" of *expr.Cmp.
func typeName(v any) string {
	name := fmt.Sprintf("%T", v)
	return snake(name[strings.LastIndexByte(name, '.')+1:])
}
