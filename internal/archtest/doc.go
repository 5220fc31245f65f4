// Package archtest holds no code, only tests: they check the rules of
// docs/architecture.md that a compiler does not, on the source of the whole
// module. Each rule is also tried on source that breaks it.
package archtest
