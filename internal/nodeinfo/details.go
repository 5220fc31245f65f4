//go:build linux

package nodeinfo

import (
	"encoding/hex"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// details prints the fields of a struct that are set, as in "id 42 port 4789",
// without the fields called without. It is for the many kinds
// of interfaces, queueing disciplines and filters, of which no file here knows
// all.
func details(v any, without ...string) string {
	var words []string
	describe(reflect.ValueOf(v), without, 0, func(name, value string) {
		words = append(words, name+" "+value)
	})
	return strings.Join(words, " ")
}

// deepest is how far structs in structs are followed.
const deepest = 4

func describe(v reflect.Value, without []string, depth int, found func(name, value string)) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || depth > deepest {
		return
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() || slices.Contains(without, field.Name) || v.Field(i).IsZero() {
			continue
		}
		if text := valueText(v.Field(i), without, depth); text != "" {
			found(snake(field.Name), text)
		}
	}
}

func valueText(v reflect.Value, without []string, depth int) string {
	// Not of structs: theirs may be that of an embedded one.
	if s, ok := v.Interface().(fmt.Stringer); ok && v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface && v.Kind() != reflect.Struct {
		return s.String()
	}
	if prefix, ok := v.Interface().(*net.IPNet); ok {
		return prefix.String()
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return ""
		}
		return valueText(v.Elem(), without, depth)
	case reflect.Struct:
		var words []string
		describe(v, without, depth+1, func(name, value string) { words = append(words, name+" "+value) })
		return "(" + strings.Join(words, " ") + ")"
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
			return "0x" + hex.EncodeToString(v.Bytes())
		}
		var words []string
		for i := range v.Len() {
			word := valueText(v.Index(i), without, depth)
			if kind, ok := v.Index(i).Interface().(interface{ Type() string }); ok {
				word = kind.Type() + " " + word
			}
			words = append(words, word)
		}
		return "[" + strings.Join(words, " ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

// snake makes "vxlan_id" of "VxlanId".
func snake(name string) string {
	var out strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}
