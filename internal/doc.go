// Package internal holds nothing but the test that guards which package may
// import which.
package internal
