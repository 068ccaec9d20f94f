package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

// source is where a configuration comes from. It collects what is wrong, each problem with its origin.
type source struct {
	file  string
	env   string // prefix of environment variables
	flags *pflag.FlagSet

	layered  map[string]bool           // the keys that environment and flags can give
	keys     map[string]yamltree.Value // the keys that the file gives
	problems []error
}

func (s *source) err() error { return errors.Join(s.problems...) }

// invalid reports that the value of key is wrong, and where it comes from.
func (s *source) invalid(key, format string, args ...any) {
	s.problems = append(s.problems, fmt.Errorf("%s: %s", s.origin(key), fmt.Sprintf(format, args...)))
}

// missing reports that key has no value, and how to set it.
func (s *source) missing(key string) {
	file := "the configuration file"
	if s.file != "" {
		file = s.file
	}
	s.problems = append(s.problems, fmt.Errorf("%s is missing; set it in %s, in the environment as %s, or with --%s",
		key, file, s.variable(key), flagName(key)))
}

// origin names the source of the value of key.
func (s *source) origin(key string) string {
	if flag := s.flag(key); flag != nil && flag.Changed {
		return "flag --" + flag.Name
	}
	if s.layered[key] && os.Getenv(s.variable(key)) != "" {
		return "environment variable " + s.variable(key)
	}
	if at, ok := s.keys[key]; ok {
		return fmt.Sprintf("%s:%d:%d: %s", s.file, at.Line(), at.Column(), key)
	}
	return key
}

// given reports whether the file has the key.
func (s *source) given(key string) bool { return s.keys[key].Given() }

func (s *source) flag(key string) *pflag.Flag {
	if s.flags == nil {
		return nil
	}
	return s.flags.Lookup(flagName(key))
}

func (s *source) variable(key string) string {
	return s.env + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func flagName(key string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(key) }

// load lays the file, the environment and the flags over the defaults in config, a pointer to a struct. After an error
// the values in config are incomplete and need no further checks.
func (s *source) load(config any) error {
	root := reflect.ValueOf(config).Elem()
	layers := viper.New()
	s.layered = map[string]bool{}
	for _, k := range scalarsOf(root.Type()) {
		s.layered[k.path] = true
		layers.SetDefault(k.path, format(root.FieldByIndex(k.index)))
		if err := layers.BindEnv(k.path, s.variable(k.path)); err != nil {
			return fmt.Errorf("read environment: %w", err)
		}
		if flag := s.flag(k.path); flag != nil {
			if err := layers.BindPFlag(k.path, flag); err != nil {
				return fmt.Errorf("read flag --%s: %w", flag.Name, err)
			}
		}
	}
	inFile := s.decode(root)
	if err := layers.MergeConfigMap(inFile); err != nil {
		return fmt.Errorf("read %s: %w", s.file, err)
	}
	for _, k := range scalarsOf(root.Type()) {
		if err := parse(root.FieldByIndex(k.index), layers.GetString(k.path)); err != nil {
			s.invalid(k.path, "%v", err)
		}
	}
	return s.err()
}

// scalar is a key that environment and flags can give.
type scalar struct {
	path    string
	index   []int
	usage   string
	choices []string // nil: any
}

// scalarsOf lists the keys of the struct t that not only the file can give.
func scalarsOf(t reflect.Type) []scalar {
	var keys []scalar
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Tag.Get("only") != "" {
			continue
		}
		name := field.Tag.Get("key")
		if field.Type.Kind() != reflect.Struct {
			keys = append(keys, scalar{path: name, index: []int{i}, usage: field.Tag.Get("usage"), choices: choicesOf(field)})
			continue
		}
		for _, k := range scalarsOf(field.Type) {
			keys = append(keys, scalar{path: name + "." + k.path, index: append([]int{i}, k.index...), usage: k.usage, choices: k.choices})
		}
	}
	return keys
}

// addFlags adds a flag for each key, and says which default it has.
func addFlags(flags *pflag.FlagSet, defaults any) {
	root := reflect.ValueOf(defaults)
	for _, k := range scalarsOf(root.Type()) {
		if flags.Lookup(flagName(k.path)) != nil {
			continue
		}
		value, usage := root.FieldByIndex(k.index), k.usage
		if !value.IsZero() {
			usage += " (default: " + format(value) + ")"
		}
		if value.Kind() == reflect.Bool {
			flags.Bool(flagName(k.path), false, usage)
		} else { // without a default, since that would hide the value in the file
			flags.String(flagName(k.path), "", usage)
		}
	}
}

var durationType = reflect.TypeFor[time.Duration]()

// format is a value as parse reads it.
func format(v reflect.Value) string {
	if list, ok := v.Interface().([]string); ok {
		return strings.Join(list, ",")
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return yamltree.FormatDuration(d)
	}
	return fmt.Sprint(v.Interface())
}

// parse sets v to the value that text has for its type.
func parse(v reflect.Value, text string) error {
	switch {
	case v.Type() == durationType:
		d, err := yamltree.ParseDuration(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(d))
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not a boolean; write true or false", text)
		}
		v.SetBool(b)
	case v.Kind() == reflect.Slice:
		var list []string
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		v.Set(reflect.ValueOf(list))
	default:
		v.SetString(text)
	}
	return nil
}
