// Package plan resolves what the user asked for against the running kernel.
//
// [Resolve] turns a [Request], which is the command line in a struct, into a
// [Plan], which is plain data: every probe with the register or the
// tracepoint argument that holds its packet, the compiled expression, the
// scope and the sizes. Everything that can be refused before anything is
// loaded is refused here, as an [*Error] that says what was asked, what is
// true and what to type instead.
//
// The kernel is only seen through [System]. Nothing here writes, loads or
// attaches.
package plan
