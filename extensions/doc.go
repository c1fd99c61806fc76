// Package extensions turns the user's own C, a hook, into instructions for the stubs of
// netcap's programs.
//
// A hook is a file with a function that is called for each packet at a probe: a filter,
// which can reject it, or an action, which finds something out that is shown with it. Its
// language is C as BCC and libbpf users know it: kernel pointers are dereferenced as they
// are, and nothing has to be included.
//
//	Source ──Compile──▶ Object ──Load──▶ Hook ──Splice──▶ program
//
// [Compile] runs clang on the source, with those types of the running kernel in front that
// the source names. The [Object] is what can be kept and shipped: an ELF file with CO-RE
// relocations. [Load] fits it to a kernel, and replaces loads by kernel addresses by safe
// reads: a read of memory that is not there gives zero and is counted. [Hook.Splice] puts it
// into a program that was compiled long before.
package extensions
