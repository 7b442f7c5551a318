// Package fleet holds what a local fleet is made of: the fleet file as people
// write it, the plan that follows from it, and the messages by which the parts
// of the supervisor and its clients speak of it.
//
// In: the text of a fleet file and the settings of one run. Out: a Plan in which
// nothing is left to decide. But for Load, which reads the file, the package is
// pure; it starts nothing and touches no state folder.
package fleet
