package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// maxProblems bounds how many mistakes of one manifest are told.
const maxProblems = 8

// A decoder fills structs from values as encoding/json has them with UseNumber.
// In contrast to that package it goes on after a mistake, and says where it is.
type decoder struct {
	problems []error
	ignored  []string // paths of given fields with the tag retina:"ignored"
}

func (d *decoder) problem(path, format string, args ...any) {
	if path != "" {
		path += ": "
	}
	d.problems = append(d.problems, fmt.Errorf("%s%s", path, fmt.Sprintf(format, args...)))
}

// err joins the problems.
func (d *decoder) err() error {
	if more := len(d.problems) - maxProblems; more > 0 {
		return errors.Join(append(d.problems[:maxProblems:maxProblems], fmt.Errorf("and %d more", more))...)
	}
	return errors.Join(d.problems...)
}

// value decodes v into to. Null is a value only within lists and mappings.
func (d *decoder) value(path string, v any, to reflect.Value) {
	switch to.Kind() {
	case reflect.Interface:
		if v != nil {
			to.Set(reflect.ValueOf(v))
		}
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		d.value(path, v, to.Elem())
	case reflect.Struct:
		d.object(path, v, to)
	case reflect.Map:
		d.texts(path, v, to)
	case reflect.Slice:
		d.list(path, v, to)
	case reflect.String:
		if text, ok := v.(string); ok {
			to.SetString(text)
		} else {
			d.wrong(path, v, "text")
		}
	case reflect.Bool:
		if yes, ok := v.(bool); ok {
			to.SetBool(yes)
		} else {
			d.wrong(path, v, "true or false")
		}
	case reflect.Int64:
		number, ok := v.(json.Number)
		n, err := strconv.ParseInt(string(number), 10, 64)
		if ok && err == nil {
			to.SetInt(n)
		} else {
			d.wrong(path, v, "a whole number")
		}
	}
}

// object decodes a mapping into a struct, by the names of its JSON tags.
func (d *decoder) object(path string, v any, to reflect.Value) {
	m, ok := v.(map[string]any)
	if !ok {
		d.wrong(path, v, "a mapping")
		return
	}
	of := to.Type()
	known := make(map[string]int, of.NumField())
	var names []string // in the order of the struct
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		known[name] = i
		names = append(names, name)
	}
	for _, name := range names {
		field := to.Field(known[name])
		if m[name] == nil {
			continue
		}
		d.value(join(path, name), m[name], field)
		if of.Field(known[name]).Tag.Get("retina") == "ignored" && !field.IsZero() {
			d.ignored = append(d.ignored, join(path, name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if _, ok := known[name]; !ok {
			d.unknown(path, name, names)
		}
	}
}

// unknown tells of a field that does not exist.
func (d *decoder) unknown(path, name string, known []string) {
	near, distance := "", (len(name)+2)/3
	for _, candidate := range known {
		if n := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(candidate)); n < distance || n == distance && near == "" {
			near, distance = candidate, n
		}
	}
	if near != "" {
		d.problem(join(path, key(name)), "unknown field, did you mean %s?", near)
		return
	}
	sorted := slices.SortedFunc(slices.Values(known), cmp.Compare[string])
	d.problems = append(d.problems, hint.Wrap(fmt.Errorf("%s: unknown field", join(path, key(name))), "there are: "+strings.Join(sorted, ", ")))
}

// texts decodes a mapping of texts.
func (d *decoder) texts(path string, v any, to reflect.Value) {
	m, ok := v.(map[string]any)
	if !ok {
		d.wrong(path, v, "a mapping")
		return
	}
	to.Set(reflect.MakeMapWithSize(to.Type(), len(m)))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if text, ok := m[name].(string); ok {
			to.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(text))
		} else {
			d.wrong(path+"["+key(name)+"]", m[name], "text")
		}
	}
}

func (d *decoder) list(path string, v any, to reflect.Value) {
	items, ok := v.([]any)
	if !ok {
		d.wrong(path, v, "a list")
		return
	}
	to.Set(reflect.MakeSlice(to.Type(), len(items), len(items)))
	for i, item := range items {
		d.value(fmt.Sprintf("%s[%d]", path, i), item, to.Index(i))
	}
}

// wrong tells of a value of another type. It is not repeated where it may be long,
// and may be secret.
func (d *decoder) wrong(path string, v any, want string) {
	got, advice := "a mapping", ""
	switch v := v.(type) {
	case nil:
		got = "nothing"
	case string:
		got = "text"
	case bool:
		got = strconv.FormatBool(v)
	case json.Number:
		got = "the number " + v.String()
	case []any:
		got = "a list"
	}
	if _, text := v.(string); !text && want == "text" && !strings.HasPrefix(got, "a ") && v != nil {
		advice = "put it in quotes"
	}
	d.problem(path, "must be %s, is %s", want, got)
	last := len(d.problems) - 1
	d.problems[last] = hint.Wrap(d.problems[last], advice)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// key is a name of the manifest's own, cut to a length that fits a message.
func key(name string) string {
	const most = 60
	if runes := []rune(name); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return name
}
