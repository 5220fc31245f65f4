// Package expect judges reports by expectations such as
//
//	drops{namespace="shop"} == 0
//	dns.p99 < 50ms
//	retransmit_ratio{workload="Deployment/web"} < 1%
//	packets/s > 1k
//
// # Grammar
//
// See [Grammar]. Blanks between the parts do not matter.
//
// A metric is a column of a report's rows, or lost, apiserver_attempts,
// apiserver_errors, and apiserver_ with p50, p90, p99, mean or max. "." and "-"
// are as good as "_". A counter with "/s" behind its name is a rate, over the time
// that the report covers. The value is that of all that the labels select together.
//
// Of two labels with the same name both must match; a label that something does
// not have is "". "=" and "==" are the same; regular expressions (RE2) match whole
// values.
//
// # Outcomes
//
// An expectation holds, fails, or was not measured. It was not measured when no
// plugin counts its metric on any node that is involved, when the labels select no
// target, and when there is no value: a quantile or mean of no times, a ratio of
// nothing, whatever it is compared with, for nothing says what it would have been.
//
// Where numbers are incomplete, because a node failed or does not support the
// plugin, or something was lost, a counter is a lower bound. What a lower bound
// proves stands: 3 drops are not 0, however many were missed. What it does not
// prove, and every quantile and ratio, was not measured. So it is with what counts
// only when no answer has come for a while, in a report that is not longer than that.
package expect

// Grammar is the grammar for help texts.
const Grammar = `EXPECTATION := METRIC [LABELS] CMP NUMBER [UNIT]
METRIC      := NAME | NAME"/s"       of a counter, "/s" is its rate
LABELS      := "{" LABEL OP "VALUE" {"," LABEL OP "VALUE"} "}"
OP          := "=" | "==" | "!=" | "=~" | "!~"   the last two with a regular expression for the whole value
CMP         := "==" | "!=" | "<" | "<=" | ">" | ">="
UNIT        := "%" | "us" | "ms" | "s" | "k" | "M" | "G" | "Ki" | "Mi" | "Gi", the last six with or without "B"

names   packets packets_in packets_out bytes bytes_in bytes_out drops drop_bytes retransmits segments_out
        retransmit_ratio resets resets_in resets_out connects connect_failures unanswered refused
        dns.queries dns.responses dns.errors dns.timeouts dns.error_ratio apiserver.attempts apiserver.errors lost
        connect.X rtt.X dns.X apiserver.X, where X is p50, p90, p99, mean or max
labels  of all: namespace, pod, node, workload, service
        of packets, bytes, resets: direction (ingress, egress)
        of what flows have: remote, protocol, port, role; not of quantiles
        of drops: reason, hook, direction, on, remote, protocol, port
        of dns: name, type, code, remote (the server), protocol, role (client, unless it says server)
        of apiserver: only node, remote, reason; of lost: only node, plugin
units   times need one; bytes and counts may have k, M, G (1000) and Ki, Mi, Gi (1024); a ratio is 0.01 or 1%`
