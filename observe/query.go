package observe

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// verbs are the values of db_operation_name; any other statement is OTHER.
var verbs = [...]string{
	"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "WITH", "VALUES", "CALL", "EXEC", "EXECUTE", "COPY",
	"BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET", "SHOW", "EXPLAIN", "ANALYZE", "VACUUM",
	"CREATE", "ALTER", "DROP", "TRUNCATE", "GRANT", "REVOKE", "LOCK", "LISTEN", "NOTIFY", "PRAGMA", "USE",
}

// operation returns the verb of a statement, behind comments and parentheses.
// It does not allocate.
func operation(query string) string {
	for {
		query = strings.TrimLeft(query, " \t\r\n(;")
		switch {
		case strings.HasPrefix(query, "--"):
			_, query, _ = strings.Cut(query, "\n")
			continue
		case strings.HasPrefix(query, "/*"):
			_, query, _ = strings.Cut(query, "*/")
			continue
		}
		break
	}
	end := 0
	for end < len(query) && (query[end]|0x20) >= 'a' && (query[end]|0x20) <= 'z' {
		end++
	}
	for _, v := range verbs {
		if strings.EqualFold(query[:end], v) {
			return v
		}
	}
	return "OTHER"
}

// withoutLiterals replaces strings and numbers in a statement by "?" and drops
// comments, which may hold values too. It errs on the side of leaving out: what
// follows an unclosed quote is a literal. Quoted identifiers ("..." and `...`)
// stay, except that a "..." of MySQL may be a string, so it goes as well.
func withoutLiterals(query string) string {
	var b strings.Builder
	b.Grow(min(len(query), 2*maxAttribute))
	word := false // the previous character belongs to an identifier
	for i := 0; i < len(query) && b.Len() < 4*maxAttribute; {
		c := query[i]
		switch {
		case c == '\'' || c == '"':
			i = skipQuoted(query, i)
			b.WriteByte('?')
			word = false
		case strings.HasPrefix(query[i:], "--") || c == '#':
			if n := strings.IndexByte(query[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(query)
			}
		case strings.HasPrefix(query[i:], "/*"):
			if n := strings.Index(query[i+2:], "*/"); n >= 0 {
				i += n + 4
			} else {
				i = len(query)
			}
		case c == '$' && !word:
			end, literal := dollar(query, i)
			if literal {
				b.WriteByte('?')
			} else {
				b.WriteString(query[i:end])
			}
			i = end
			word = !literal
		case c >= '0' && c <= '9' && !word:
			for i < len(query) && (isWord(rune(query[i])) || query[i] == '.' || (query[i] == '+' || query[i] == '-') && query[i-1]|0x20 == 'e') {
				i++
			}
			b.WriteByte('?')
		default:
			r, n := utf8.DecodeRuneInString(query[i:])
			word = isWord(r)
			b.WriteString(query[i : i+n])
			i += n
		}
	}
	return b.String()
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// skipQuoted returns the index behind the quoted text that begins at i; a quote
// is escaped by a backslash or by doubling it. Taking a backslash for an escape
// where it is none can only make the literal longer.
func skipQuoted(s string, i int) int {
	quote := s[i]
	for i++; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

// dollar tells PostgreSQL's $tag$...$tag$ from a parameter $1.
func dollar(s string, i int) (end int, literal bool) {
	end = i + 1
	for end < len(s) && isWord(rune(s[end])) {
		end++
	}
	if end == len(s) || s[end] != '$' || end > i+1 && s[i+1] >= '0' && s[i+1] <= '9' {
		return end, false
	}
	tag := s[i : end+1]
	if n := strings.Index(s[end+1:], tag); n >= 0 {
		return end + 1 + n + len(tag), true
	}
	return len(s), true
}
