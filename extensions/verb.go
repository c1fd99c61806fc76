package extensions

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// verbList is for messages.
const verbList = "%d, %i, %u, %x, %X, %o, %b, %c, %p, %s, %ip4, %ip6, %mac, %ns and %enum, with text around one of them as in 0x%x"

// verb is how a field is shown: text, and one place for the value.
type verb struct {
	before, after string
	flags         string // as those of printf: zeros, minus, width
	letter        string // of verbList without %, and with its width
}

// verbForm is a verb of C or Go, or one of netcap's own.
var verbForm = regexp.MustCompile(`%([-+ #0]*[0-9]*)(?:\.[0-9]+)?(ip4|ip6|mac|ns|enum|(?:hh|h|ll|l|z|j|t|q)?([diuxXobcspv]))`)

// parseVerb returns false if text has no verb, or several.
func parseVerb(text string) (verb, bool) {
	all := verbForm.FindAllStringSubmatchIndex(text, -1)
	if len(all) != 1 {
		return verb{}, false
	}
	m := all[0]
	v := verb{before: text[:m[0]], after: text[m[1]:], flags: text[m[2]:m[3]], letter: text[m[4]:m[5]]}
	if m[6] >= 0 {
		v.letter = text[m[6]:m[7]]
	}
	switch v.letter {
	case "i", "v", "u":
		v.letter = "d"
	}
	if strings.Contains(v.before+v.after, "%") {
		return verb{}, false
	}
	return v, true
}

// checkVerb says what is wrong with one, "" for nothing.
func checkVerb(text string) string {
	switch _, ok := parseVerb(text); {
	case ok:
		return ""
	case !strings.Contains(text, "%"):
		return "there is no verb in it"
	case len(verbForm.FindAllString(text, -1)) > 1:
		return "there is more than one verb in it"
	}
	return "there is no such verb"
}

// named is a verb, and the field that it is for.
type named struct{ name, verb string }

// formatLine is a declaration with the comment that says how it is shown.
var formatLine = regexp.MustCompile(`(?m)([A-Za-z_]\w*)[ \t]*((?:\[[^\]\n]*\][ \t]*)*)(?::[ \t]*\w+[ \t]*)?(?:__attribute__[^;\n]*)?;[ \t]*(?://|/\*)[ \t]*format:[ \t]*(\S+)`)

// resultStruct is where the result is declared.
var resultStruct = regexp.MustCompile(`\bstruct\s+(?:__attribute__\s*\(\(.*?\)\)\s*)?` + resultName + `\s*(?:__attribute__\s*\(\(.*?\)\)\s*)?\{`)

// resultName is the tag of what an action finds out.
const resultName = "xcap_user_extend"

// formats returns the verbs of the fields of the result by their names.
func formats(text string) map[string]string {
	at := resultStruct.FindStringIndex(bare(text))
	if at == nil {
		return nil
	}
	// The first brace that closes the struct, seen without comments.
	clean, depth, end := bare(text), 1, at[1]
	for ; end < len(clean) && depth > 0; end++ {
		switch clean[end] {
		case '{':
			depth++
		case '}':
			depth--
		}
	}
	if to := strings.IndexByte(text[end:], '\n'); to >= 0 {
		end += to
	}
	verbs := make(map[string]string)
	for _, m := range formatLine.FindAllStringSubmatchIndex(text[at[1]:end], -1) {
		if clean[at[1]+m[2]] == ' ' { // the whole line is a comment
			continue
		}
		name := text[at[1]+m[2] : at[1]+m[3]]
		value := strings.TrimSuffix(text[at[1]+m[6]:at[1]+m[7]], "*/")
		verbs[name] = value
	}
	return verbs
}

// sortedVerbs returns verbs by name.
func sortedVerbs(verbs map[string]string) []named {
	var all []named
	for name, v := range verbs {
		all = append(all, named{name: name, verb: v})
	}
	slices.SortFunc(all, func(a, b named) int { return cmp.Compare(a.name, b.name) })
	return all
}
