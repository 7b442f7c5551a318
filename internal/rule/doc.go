// Package rule is the expression language of policy: attributes with types, CEL over
// them, and the translation of the language of config.istio.io/v1alpha2 into CEL. In:
// text. Out: a Program, or an Error with its position. It evaluates over a Source and
// does no I/O; everything it returns may be used by many goroutines at once.
//
// # Attributes
//
// An expression names attributes by their dotted names: source.namespace,
// destination.labels["app"], request.headers["x-user"], response.code. The names and
// types are those of [Attributes]; an AttributeManifest may declare more.
//
// # What an absent thing means
//
//   - An absent attribute is an error: the expression has no value. CEL's && and ||
//     absorb errors on either side, so `false && absent` is false and `true || absent`
//     is true. A caller that gets an error treats the rule as one that could not be
//     asked. [AbsentAttribute] tells the attribute's name.
//   - An absent key of an attribute that is a map reads as "", with and without a value:
//     `request.headers["x-key"] != "secret"` is true when there is no such header.
//     `"x-key" in request.headers` tells the two apart. The keys of request.headers and
//     response.headers are in lower case; a literal key that is not is refused.
//   - first(a, b, …) is the first of its arguments that is present. An absent attribute
//     or an absent key written m["k"] falls through; "" is present.
//
// # Functions beside CEL's own
//
//   - match(s, pattern): "abc*" is a prefix, "*abc" a suffix, everything else equality.
//   - ip("10.0.0.1"), cidr("10.0.0.0/8").containsIP(a) and the rest of CEL's network
//     library.
//   - first, above. has() is not offered: `in` and first do its work.
//
// # Limits
//
// An expression has at most [MaxLength] bytes, and its worst case may cost at most a
// fixed number of CEL cost units, estimated when it is compiled; loops are also counted
// while they run.
package rule
