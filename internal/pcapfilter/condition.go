package pcapfilter

// condition is what a program decides on, in the order in which it looks.
type condition interface{}

// test compares a value with another: left jump right.
type test struct {
	jump        uint16 // an opcode: opJeq, opJgt, opJge, opJset
	left, right valueID
}

type both struct{ first, second condition }

type either struct{ first, second condition }

type inverse struct{ x condition }

// fixed is always true or always false.
type fixed bool

// assign writes a value into a memory slot; it is always true. Where the packet is
// too short for the value it is rejected, also when nobody needs the value, if
// must is set.
type assign struct {
	slot  uint32
	value valueID
	must  bool
}

// all is every condition, in order; nil ones count for nothing.
func all(conditions ...condition) condition {
	return fold(conditions, func(a, b condition) condition { return both{a, b} })
}

// some is at least one condition, in order.
func some(conditions ...condition) condition {
	return fold(conditions, func(a, b condition) condition { return either{a, b} })
}

func fold(conditions []condition, join func(a, b condition) condition) condition {
	var result condition
	for i := len(conditions) - 1; i >= 0; i-- {
		switch {
		case conditions[i] == nil:
		case result == nil:
			result = conditions[i]
		default:
			result = join(conditions[i], result)
		}
	}
	return result
}
