package wire

import "fmt"

// A Secret is text that must not be seen: a shared access signature or a key. It
// prints as a placeholder, however it is formatted, so that neither a log line
// nor an error can show it by accident. Only JSON has it in clear, because that is
// how it travels through the stream to the collector.
type Secret string

// placeholder is what a Secret looks like.
const placeholder = "[secret]"

// Format implements fmt.Formatter for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(placeholder)) }

// String is for those who do not format.
func (Secret) String() string { return placeholder }

// Reveal returns the text itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// Format implements fmt.Formatter: a verb that does not fit a struct would print
// its fields as they are.
func (BlobDestination) Format(f fmt.State, verb rune) { Secret("").Format(f, verb) }

// Format implements fmt.Formatter, as that of BlobDestination.
func (S3Destination) Format(f fmt.State, verb rune) { Secret("").Format(f, verb) }
