package config

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

const (
	maxFile = 1 << 20 // bytes of a configuration file
	maxList = 1000    // items of a list
)

// decode reads the file into root, a struct. It sets the keys that only the file can give, and returns the values of the
// others as strings, for viper. viper lower-cases keys and splits them on dots, so keys that the operator chooses
// (attributes, actions) must not pass through it.
func (s *source) decode(root reflect.Value) map[string]any {
	if s.file == "" {
		return nil
	}
	data, err := readFile(s.file)
	if err != nil {
		s.problems = append(s.problems, fmt.Errorf("read configuration: %w", err))
		return nil
	}
	reader, documents := yamltree.Parse(s.file, data, maxFile)
	reader.FullPaths = true
	d := decoder{Reader: reader, keys: map[string]yamltree.Value{}}
	s.keys = d.keys
	var scalars map[string]any
	switch {
	case len(documents) > 1:
		reader.Add(documents[1], yamltree.CodeBadValue, "a second document starts here; a configuration file has only one")
	case len(documents) == 1:
		scalars = d.structure(documents[0], root, false)
	}
	for _, problem := range reader.Problems() {
		s.problems = append(s.problems, errors.New(hideSecrets(problem.String())))
	}
	return scalars
}

// readFile reads a file, but little more than is allowed of a larger one.
func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(io.LimitReader(file, maxFile+1))
}

// decoder sets the fields of structs from the document of a configuration file.
type decoder struct {
	*yamltree.Reader
	keys map[string]yamltree.Value // the keys that the file gives, by path
}

// structure reads a mapping into a struct. If fileOnly is false, scalars are not set but returned.
func (d *decoder) structure(v yamltree.Value, into reflect.Value, fileOnly bool) map[string]any {
	object, ok := d.Object(v)
	if !ok {
		return nil
	}
	scalars := map[string]any{}
	for i := range into.NumField() {
		field := into.Type().Field(i)
		key := field.Tag.Get("key")
		value := object.Get(key)
		if !value.Given() {
			continue
		}
		d.keys[value.Path()] = object.Key(key)
		only := fileOnly || field.Tag.Get("only") != ""
		if scalar := d.field(value, into.Field(i), only); scalar != nil {
			scalars[key] = scalar
		}
	}
	object.End(nil)
	return scalars
}

// field reads a value into target. If only is false, scalars are not set but returned.
func (d *decoder) field(v yamltree.Value, target reflect.Value, only bool) any {
	switch kind := target.Kind(); {
	case kind == reflect.Struct:
		if scalars := d.structure(v, target, only); len(scalars) > 0 {
			return scalars
		}
	case kind == reflect.Pointer:
		target.Set(reflect.New(target.Type().Elem()))
		d.structure(v, target.Elem(), true)
	case target.Type() == reflect.TypeFor[map[string]Command]():
		target.Set(reflect.ValueOf(d.commands(v)))
	case kind == reflect.Map:
		if _, ok := d.Object(v); ok {
			d.CheckUntyped(v)
			target.Set(reflect.ValueOf(v.Decode()))
		}
	case only:
		d.scalar(v, target)
	default:
		value := reflect.New(target.Type()).Elem()
		if d.scalar(v, value) {
			return format(value)
		}
	}
	return nil
}

func (d *decoder) commands(v yamltree.Value) map[string]Command {
	commands := map[string]Command{}
	object, _ := d.Object(v)
	for _, name := range object.Keys() {
		value := object.Get(name)
		if !value.Given() {
			continue
		}
		d.keys[value.Path()] = object.Key(name)
		var command Command
		d.structure(value, reflect.ValueOf(&command).Elem(), true)
		commands[name] = command
	}
	return commands
}

// scalar reads a string, a duration, a boolean or a list of strings into target.
func (d *decoder) scalar(v yamltree.Value, target reflect.Value) bool {
	switch {
	case target.Type() == durationType:
		duration, ok := d.Duration(v)
		target.SetInt(int64(duration))
		return ok
	case target.Kind() == reflect.Bool:
		value, ok := d.Bool(v)
		target.SetBool(value)
		return ok
	case target.Kind() == reflect.Slice:
		list := []string{}
		d.List(v, maxList, "strings", func(_ int, v yamltree.Value) {
			if item, ok := d.String(v, math.MaxInt); ok {
				list = append(list, item)
			}
		})
		target.Set(reflect.ValueOf(list))
		return true
	}
	value, ok := d.String(v, math.MaxInt)
	target.SetString(value)
	return ok
}
